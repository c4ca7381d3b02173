"""The K directions of a step: a raw direction for each, and its length.

A law of independent values takes raw directions as they are. The sphere scales each one to norm √d: the scale is a
public function of the key and of the parameters' names and shapes (`norms`), so nothing of a direction's size
is stored. It costs one more drawing of each direction.
"""

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from trainers.directions.counter import KINDS_IN_A_BASIS, Block, Direction

DirectionLaw = Literal["gaussian", "rademacher", "sphere", "low-rank", "activation", "public-gradient"]


class Geometry(Protocol):
    """What the sphere needs to know of the parameters."""

    @property
    def count(self) -> int:
        """Number of parameters that move, d."""
        ...

    def squared_norms(self, directions: Sequence[Direction]) -> np.ndarray:
        """Return ‖z_k‖² over them, float64 [K], the same on every machine."""
        ...


def raw_direction(
    law: DirectionLaw, seed: int, step: int, index: int, rank: int, block: Block | None = None
) -> Direction:
    """Return the raw direction drawn for a law, before it is scaled."""
    if law == "low-rank" or law in KINDS_IN_A_BASIS:
        return Direction(seed, step, index, law, rank, block)
    return Direction(seed, step, index, "rademacher" if law == "rademacher" else "gaussian", block=block)


def scaled(law: DirectionLaw, directions: Sequence[Direction], geometry: Geometry) -> list[tuple[Direction, float]]:
    """Return each raw direction with its scale: √d / ‖z‖ on the sphere of radius √d, 1 for every other law.

    d counts the parameters that the direction moves.
    """
    if law != "sphere":
        return [(z, 1.0) for z in directions]
    counts = [geometry.count if z.block is None else z.block.count for z in directions]
    return [
        (z, math.sqrt(count / float(geometry.squared_norms([z])[0])))
        for z, count in zip(directions, counts, strict=True)
    ]
