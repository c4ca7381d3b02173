"""The command line: one file a verb, and `views/` for what people see."""
