"""The command line: one function a verb, and how results look on a terminal."""
