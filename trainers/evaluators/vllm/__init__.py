"""The loss evaluator by vLLM."""
