"""Loss evaluators: the loop's only view of a model."""
