"""Loss evaluators: the view that the training loop has of a model."""
