"""Public random directions: the same z for the same key on every machine, drawn anew in every pass."""

from trainers.directions.counter import Direction, WeightedDirections, direction_values, uniform_values

__all__ = ["Direction", "WeightedDirections", "direction_values", "uniform_values"]
