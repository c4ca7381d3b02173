"""The two-sided zeroth-order estimator, which all methods of the catalogue share.

Along each of K public directions the loss is measured at θ + λz and θ − λz. Pure functions of public values: no file,
no process group, no random number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainers.directions import Direction
from trainers.directions.counter import Kind
from trainers.evaluators.base import Probe


@dataclass(frozen=True)
class TwoSided:
    """Differences along K directions, and the step that the noisy mean of them makes.

    Args:
        num_directions: K.
        smoothing: λ, perturbation radius in units of a parameter.
        learning_rate: η.
        direction: kind of z, "gaussian" or "rademacher".
        seed: public key of all directions of the run.
    """

    num_directions: int
    smoothing: float
    learning_rate: float
    direction: Kind
    seed: int

    def directions(self, step: int) -> list[Direction]:
        """Return the K public directions of a step."""
        return [Direction(self.seed, step, k, self.direction) for k in range(self.num_directions)]

    def propose(self, step: int) -> list[Probe]:
        """Return 2K probes: +λ and −λ of direction 0, then of direction 1, …"""
        return [Probe(z, sign * self.smoothing) for z in self.directions(step) for sign in (1.0, -1.0)]

    def values(self, losses_PB: np.ndarray) -> np.ndarray:
        """Return each example's K-vector v(x) = Δ(x) / K, float64 [B, K], from losses [2K, B] in nats."""
        plus_KB, minus_KB = losses_PB[0::2], losses_PB[1::2]
        with np.errstate(invalid="ignore", over="ignore"):  # inf − inf is NaN, which the clip counts as 0
            return ((plus_KB - minus_KB) / (2.0 * self.smoothing * self.num_directions)).T

    def update(self, step: int, mean_K: np.ndarray) -> list[tuple[Direction, float]]:
        """Return the coefficients −η·g_k of the directions of `step`, g = `mean_K` the noisy sum over B."""
        return [(z, -self.learning_rate * float(g)) for z, g in zip(self.directions(step), mean_K, strict=True)]
