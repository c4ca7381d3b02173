"""The loss evaluator by Hugging Face transformers."""
