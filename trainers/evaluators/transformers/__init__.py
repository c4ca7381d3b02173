"""Losses by Hugging Face transformers."""
