"""Shrinkage of g by its known noise, as a James-Stein estimator: g · max(0, 1 − E‖noise‖² / ‖g‖²).

‖g‖² is a running mean over steps. Norms are in multiples of C, so that a schedule of C does not matter.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from trainers.methods.transforms.base import State, Transform, Update

if TYPE_CHECKING:
    from trainers.mechanism.plan import MechanismPlan

_VARIANCE = {"gaussian": 1.0, "laplace": 2.0}  # of the law at scale 1


def shrinkage(decay: float) -> Transform:
    """Return the transform that multiplies g by the share of ‖g‖² that is signal; `decay` of the running mean."""

    def update(given: Update, state: State, plan: MechanismPlan) -> tuple[Update, State]:
        assert plan.clip_norm is not None, "without privacy there is no noise to correct for"
        energy, state = running_mean(decay, state, math.fsum((given.values_K / plan.clip_norm) ** 2))
        noise = plan.num_directions * noise_variance(plan)
        share = max(0.0, 1.0 - noise / energy) if energy > 0 else 0.0
        return replace(given, values_K=given.values_K * share), state

    return Transform("energy", lambda: (0.0, 0.0), update)


def running_mean(decay: float, state: State, value: float) -> tuple[float, State]:
    """Return the exponential mean with a further value, and its state: the weighted sum and the sum of the weights."""
    total, weight = (decay * before + (1.0 - decay) * now for before, now in zip(state, (value, 1.0), strict=True))
    return total / weight, (total, weight)


def noise_variance(plan: MechanismPlan) -> float:
    """Return the variance of the noise on a coordinate of g, in multiples of C²."""
    assert plan.noise_multiplier is not None
    return _VARIANCE[plan.noise] * (plan.value_noise / plan.expected_batch_size) ** 2
