"""Callbacks of programs."""
