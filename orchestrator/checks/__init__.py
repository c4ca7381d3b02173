"""Checks of a machine (doctor) and of the privacy claim (audit)."""
