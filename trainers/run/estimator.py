"""The zeroth-order estimator that all methods share: the probes of a step, and an example's K-vector from its losses.

Pure functions: no file, no process group, no random number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainers.directions import WeightedDirections
from trainers.directions.counter import KINDS_IN_A_BASIS
from trainers.directions.frames import DirectionLaw, raw_direction
from trainers.evaluators.base import Probe

Difference = Literal["two-sided", "one-sided", "centred"]


@dataclass(frozen=True)
class Estimator:
    """Differences along K public directions.

    Args:
        num_directions: K.
        difference: two-sided Δ_k = [ℓ(θ+λz_k) − ℓ(θ−λz_k)] / 2λ from 2K probes; one-sided [ℓ(θ+λz_k) − ℓ(θ)] / λ from
            K + 1; centred, the one-sided less its mean over k, from K, since ℓ(θ) cancels.
        smoothing: step → λ, in units of a parameter.
        directions: step → the K directions, each with its scale.
    """

    num_directions: int
    difference: Difference
    smoothing: Callable[[int], float]
    directions: Callable[[int], WeightedDirections]

    def propose(self, step: int) -> list[Probe]:
        """Return the probes of a step: two-sided +λ and −λ of each direction in turn; one-sided θ itself first."""
        radius, directions = self.smoothing(step), self.directions(step)
        if self.difference == "two-sided":
            return [Probe(z, sign * radius * scale) for z, scale in directions for sign in (1.0, -1.0)]
        base = [Probe(directions[0][0], 0.0)] if self.difference == "one-sided" else []
        return base + [Probe(z, radius * scale) for z, scale in directions]

    def values(self, step: int, losses_PB: np.ndarray) -> np.ndarray:
        """Return each example's K-vector v(x) = Δ(x) / K, float64 [B, K], from losses [P, B] in nats."""
        radius = self.smoothing(step)
        with np.errstate(invalid="ignore", over="ignore"):  # inf − inf is NaN, which the clip counts as 0
            if self.difference == "two-sided":
                return ((losses_PB[0::2] - losses_PB[1::2]) / (2.0 * radius * self.num_directions)).T
            if self.difference == "one-sided":
                base_B, moved_KB = losses_PB[0], losses_PB[1:]
            else:
                base_B, moved_KB = losses_PB.mean(axis=0), losses_PB
            return ((moved_KB - base_B) / (radius * self.num_directions)).T


def selftest_probes(law: DirectionLaw, seed: int, rank: int, smoothing: float) -> list[Probe]:
    """Return a probe on each side of θ, for the self-test of an evaluator; Gaussian for a law that needs a basis."""
    law = "gaussian" if law in KINDS_IN_A_BASIS else law
    return [Probe(raw_direction(law, seed, 0, 0, rank), sign * smoothing) for sign in (1.0, -1.0)]
