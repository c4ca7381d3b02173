"""Transforms of an update, one a file: pure (init, update) pairs that a paper's file chains."""
