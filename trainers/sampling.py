"""Poisson sampling from the operating system's entropy: the batch is secret, and so is every word that drew it.

There is no seed, nothing is logged and nothing is checkpointed: amplification by sampling holds only while nobody
can learn who was in a batch (methods.md, wrong no. 2).
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np

from trainers.mechanism import WORD_RANGE, MechanismPlan


class Sampler(Protocol):
    """Draws the examples (or users) of a step."""

    def draw(self) -> np.ndarray:
        """Return the row numbers of the next batch, int64 of any length, also 0."""
        ...


class PoissonSampler:
    """Each of `num_units` units of privacy, examples or users, joins a batch independently with the plan's probability.

    Formal guarantees:
        Units are independent of each other and of every other step; the probability is exactly
        `plan.sampling_threshold` / 2**32.
    """

    def __init__(self, plan: MechanismPlan, num_units: int) -> None:
        self._threshold = plan.sampling_threshold
        self._num_units = num_units

    def draw(self) -> np.ndarray:
        """Return the row numbers of the next batch, int64 of any length, also 0."""
        if self._threshold >= WORD_RANGE:
            return np.arange(self._num_units)
        words = np.frombuffer(os.urandom(4 * self._num_units), dtype=np.uint32)
        return np.flatnonzero(words < np.uint32(self._threshold))
