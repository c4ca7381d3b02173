"""The grids that the papers searched, by method and model: `search.space: dp-aggzo/roberta-large`.

Their numbers of steps and batch sizes are left out: they enter the event of the accountant, and a sweep fixes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DPZERO = {
    "method.clip_norm": {"choices": [100.0, 200.0, 400.0]},
    "method.learning_rate": {"choices": [1e-7, 5e-7, 1e-6, 5e-6, 1e-5, 5e-5]},
}
_AGGZO = {
    "method.clip_norm": {
        "choices": sorted({base * factor for base in (1.0, 1.25) for factor in (1, 2, 3, 4, 6, 8, 10, 20, 40)})
    },
    "method.learning_rate": {"choices": [1e-6, 2e-6, 4e-6, 8e-6, 1e-5, 2e-5, 4e-5, 8e-5]},
}
GRIDS: dict[str, Mapping[str, Any]] = {
    "dpzero/roberta-large": _DPZERO,
    "dpzero/opt-1.3b": _DPZERO,
    "dp-aggzo/roberta-large": {**_AGGZO, "method.num_directions": {"choices": [64, 256]}},
    "dp-aggzo/opt-1.3b": {**_AGGZO, "method.num_directions": {"choices": [16, 64]}},
}


def grid_of(space: Any) -> Any:
    """Return the grid that a name stands for; anything else as it is.

    Raises:
        ValueError: no paper's grid has that name.
    """
    if not isinstance(space, str):
        return space
    if space not in GRIDS:
        raise ValueError(f"no grid is called {space!r}: write {{name: distribution}}, or one of {', '.join(GRIDS)}")
    return GRIDS[space]
