"""Public random directions: the same z for the same key on every machine, drawn anew in every pass.

`counter` defines a direction (a counter hash in numpy, the executable specification), `gaussian` turns its words into
normal values, and `apply` adds directions to torch tensors. Importing this package loads neither torch nor numba.
"""

from trainers.directions.counter import Direction, WeightedDirections, direction_values, uniform_values

__all__ = ["Direction", "WeightedDirections", "direction_values", "uniform_values"]
