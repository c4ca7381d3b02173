"""Poisson sampling from the operating system's entropy.

Amplification by sampling holds only while nobody can learn who was in a batch. So there is no seed, and nothing of a
batch is logged or checkpointed (docs/pitfalls.md#a-sampler-with-a-known-seed). It holds only for the sampling that was
accounted (docs/pitfalls.md#shuffled-batches-accounted-as-poisson-samples). Ranks that must draw the same batch share a
key that rank 0's operating system made for the step (trainers/workers/shared_entropy.py).
"""

import random
import secrets
from typing import Protocol

import numpy as np

from trainers.mechanism.plan import WORD_RANGE, MechanismPlan


class Sampler(Protocol):
    """Draws the units of privacy (examples or users) of a step."""

    def draw(self) -> np.ndarray:
        """Return the numbers of the units in the next batch, int64 of any length, also 0."""
        ...


class PoissonSampler:
    """Each of `num_units` units of privacy joins a batch independently, with the plan's probability.

    `entropy` is the operating system's, or the one that ranks share.

    Formal guarantees:
        Units are independent of each other and of every other step; the probability is exactly
        `plan.sampling_threshold` / 2**32.
    """

    def __init__(self, plan: MechanismPlan, num_units: int, entropy: random.Random | None = None) -> None:
        self._threshold = plan.sampling_threshold
        self._num_units = num_units
        self._entropy = entropy or secrets.SystemRandom()

    def draw(self) -> np.ndarray:
        if self._threshold >= WORD_RANGE:
            return np.arange(self._num_units)
        words = np.frombuffer(self._entropy.randbytes(4 * self._num_units), dtype="<u4")
        return np.flatnonzero(words < np.uint32(self._threshold))
