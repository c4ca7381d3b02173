"""The K directions of a step as combinations of drawn ones: as they are, on a sphere, or orthogonal to each other.

A combination is a list of (drawn direction, coefficient), and its coefficients are a public function of the key and of
the parameters' names and shapes (`inner`). So nothing of a direction's size is stored: a sphere costs one more drawing
of each direction, K orthogonal ones cost K(K+1)/2 drawings for a pass of all of them in place of K. Holding them
instead would take K times the memory of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from trainers.directions.counter import Direction

Law = Literal["gaussian", "rademacher", "sphere", "orthonormal", "low-rank"]
Terms = tuple[tuple[Direction, float], ...]


class Geometry(Protocol):
    """What a frame needs to know of the parameters."""

    @property
    def count(self) -> int:
        """Number of parameters that move, d."""
        ...

    def inner_products(self, directions: Sequence[Direction]) -> np.ndarray:
        """Return 〈z_i, z_j〉 over them, float64 [K, K], the same on every machine."""
        ...


def drawn(law: Law, seed: int, step: int, index: int, rank: int) -> Direction:
    """Return the direction that a law draws before it combines."""
    if law == "low-rank":
        return Direction(seed, step, index, law, rank)
    return Direction(seed, step, index, "rademacher" if law == "rademacher" else "gaussian")


def combined(law: Law, directions: Sequence[Direction], geometry: Geometry) -> list[Terms]:
    """Return one combination for each of K drawn directions.

    sphere: z · √d / ‖z‖, uniform on the sphere of radius √d. orthonormal: Gram–Schmidt in the order of the directions,
    each of norm √d.
    Raises ValueError for more orthogonal directions than parameters.
    """
    if law == "sphere":
        return [((z, math.sqrt(geometry.count / float(geometry.inner_products([z])[0, 0]))),) for z in directions]
    if law == "orthonormal":
        if len(directions) > geometry.count:
            raise ValueError(
                f"method.direction: {len(directions)} orthonormal directions do not fit {geometry.count} parameters; "
                "lower num_directions"
            )
        rows = _inverse_cholesky(geometry.inner_products(directions))
        root = math.sqrt(geometry.count)
        return [tuple((z, root * a) for z, a in zip(directions, row, strict=False)) for row in rows]
    return [((z, 1.0),) for z in directions]


def weighted(combinations: Sequence[Terms], weights: Sequence[float]) -> list[tuple[Direction, float]]:
    """Return Σ_k w_k · (combination k) as one list with each drawn direction once, in the order of first mention."""
    parts: dict[Direction, list[float]] = {}
    for terms, weight in zip(combinations, weights, strict=True):
        for direction, coefficient in terms:
            parts.setdefault(direction, []).append(weight * coefficient)
    return [(direction, math.fsum(products)) for direction, products in parts.items()]


def _inverse_cholesky(gram: np.ndarray) -> list[list[float]]:
    """Return the rows of L⁻¹ for G = L Lᵀ; exact sums, so that no library's order of summation shows."""
    lower: list[list[float]] = []
    inverse: list[list[float]] = []
    for i in range(len(gram)):
        row: list[float] = []
        for j in range(i):
            rest = math.fsum([float(gram[i, j]), *(-row[m] * lower[j][m] for m in range(j))])
            row.append(rest / lower[j][j])
        square = math.fsum([float(gram[i, i]), *(-value * value for value in row)])
        if not square > 1e-9 * gram[i, i]:
            raise ValueError("method.direction: the drawn directions are not independent; lower num_directions")
        diagonal = math.sqrt(square)
        lower.append([*row, diagonal])
        inverse.append(
            [-math.fsum(row[m] * inverse[m][j] for m in range(j, i)) / diagonal for j in range(i)] + [1.0 / diagonal]
        )
    return inverse
