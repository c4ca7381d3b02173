"""Runs and sweeps, from a plan to a result."""
