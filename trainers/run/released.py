"""From a released K-vector to the coefficients of the update: post-processing, which costs no privacy.

Everything here sees released values and public constants only, so a replay of the log passes through the same states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from trainers.mechanism.plan import MechanismPlan


class RunningMean:
    """An exponential mean that counts what it has seen: after n values their weights add up to one."""

    def __init__(self, decay: float) -> None:
        self._decay, self._sum, self._weight = decay, 0.0, 0.0

    def add(self, value: float) -> float:
        """Take a value and return the mean."""
        self._sum = self._decay * self._sum + (1.0 - self._decay) * value
        self._weight = self._decay * self._weight + (1.0 - self._decay)
        return self._sum / self._weight

    def state(self) -> list[float]:
        """Return all that it remembers."""
        return [self._sum, self._weight]

    def restore(self, state: list[float]) -> None:
        """Go on from a state."""
        self._sum, self._weight = state


class ReleasedValues:
    """The noisy means of a run, shrunk as configured; it remembers those that it was given.

    Args:
        shrinkage: decay of the running ‖g‖². g is multiplied by max(0, 1 − E‖noise‖² / ‖g‖²), the share of it that is
            signal; norms are in multiples of C, so that a schedule of C does not matter. None: g as it is.
    """

    def __init__(self, shrinkage: float | None) -> None:
        self._energy = None if shrinkage is None else RunningMean(shrinkage)

    def state(self) -> dict[str, list[float]]:
        """Return all that it remembers of the values that it was given."""
        return {name: mean.state() for name, mean in self._means().items()}

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Go on from a state."""
        for name, mean in self._means().items():
            mean.restore(state[name])

    def _means(self) -> dict[str, RunningMean]:
        return {} if self._energy is None else {"energy": self._energy}

    def mean(self, noisy_K: np.ndarray, plan: MechanismPlan) -> np.ndarray:
        """Return g of a release, float64 [K]: the sum over B in loss per parameter unit, then shrunk."""
        mean_K = noisy_K * plan.grid_unit / plan.expected_batch_size
        if self._energy is not None and plan.clip_norm is not None:
            energy = self._energy.add(math.fsum((mean_K / plan.clip_norm) ** 2))
            noise = plan.num_directions * noise_variance(plan)
            mean_K = mean_K * (max(0.0, 1.0 - noise / energy) if energy > 0 else 0.0)
        return mean_K


def noise_variance(plan: MechanismPlan) -> float:
    """Return the variance of the noise on a coordinate of g, in multiples of C²."""
    assert plan.noise_multiplier is not None
    of_scale = {"gaussian": 1.0, "laplace": 2.0}[plan.noise]  # variance of the law at scale 1
    return of_scale * (plan.noise_multiplier / plan.expected_batch_size) ** 2
