"""What a task asks of a model: the catalogue of the papers' tasks, and templates."""
