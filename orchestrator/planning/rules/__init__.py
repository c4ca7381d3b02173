"""One file a rule: how a configuration is counted by it, what its trials draw, what fits, and what is said of it."""
