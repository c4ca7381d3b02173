"""The ways to count a search; one file a rule."""
