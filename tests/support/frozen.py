"""Masks and noise that a test chooses. No configuration can name these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from trainers.mechanism.plan import MechanismPlan


class FrozenSampler:
    """Hands out the given batches one after the other."""

    def __init__(self, batches: Iterable[Sequence[int]]) -> None:
        self._batches = iter(batches)

    def draw(self) -> np.ndarray:
        return np.array(next(self._batches), dtype=np.int64)


class FrozenNoise:
    """Noise from a seed: the same for the same step."""

    def __init__(self, seed: int = 0, scale: float = 1.0) -> None:
        self._generator = np.random.default_rng(seed)
        self._scale = scale

    def draw(self, plan: MechanismPlan) -> np.ndarray:
        values = self._generator.standard_normal(plan.num_coordinates) * plan.noise_scale_grid_units * self._scale
        return values.astype(np.int64)
