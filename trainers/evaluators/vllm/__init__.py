"""Losses by vLLM."""
