"""The grids that the papers searched, by method and model: `search.space: dp-aggzo/roberta-large`.

A paper's file holds them, without numbers of steps and batch sizes: those enter the accountant's event and stay fixed.
"""

from collections.abc import Mapping
from typing import Any

from trainers.methods.catalogue import METHODS, require_known


def grids() -> dict[str, Mapping[str, Any]]:
    """Return every grid under its name, 'method/model'."""
    return {f"{name}/{model}": grid for name, spec in METHODS.items() for model, grid in spec.grids.items()}


def grid_of(space: Any) -> Any:
    """Return the grid that a name stands for, anything else as it is; ValueError if no paper's grid has that name."""
    if not isinstance(space, str):
        return space
    method = METHODS.get(space.split("/")[0])
    if method is not None and not method.grids:
        raise ValueError(
            f"{method.title} has no published grid: write the ranges, method.learning_rate: {{low: …, high: …, log: "
            f"true}}. Grids: {', '.join(grids())}"
        )
    require_known("grid", space, grids())
    return grids()[space]
