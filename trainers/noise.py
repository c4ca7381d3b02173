"""Exact integer noise from the operating system's entropy.

A sampler of the discrete Gaussian with integer arithmetic only (Canonne, Kamath & Steinke, "The Discrete Gaussian for
Differential Privacy", 2020, arXiv:2004.00010, Algorithms 1-3). Nothing here takes a seed or shares a generator with the
public directions: a noise that anybody can regenerate is no noise (methods.md, wrong no. 1).
"""

from __future__ import annotations

import secrets
from typing import Protocol

import numpy as np

from trainers.mechanism import MechanismPlan


class Noise(Protocol):
    """Draws the noise of one step."""

    def draw(self, plan: MechanismPlan) -> np.ndarray:
        """Return independent noise for each of the plan's K coordinates, int64 [K] in units."""
        ...


class DiscreteGaussianNoise:
    """Discrete Gaussian noise of the plan's standard deviation on each coordinate.

    Formal guarantees:
        Coordinates and steps are independent; P(n) ∝ exp(−n² / (2 s²)) exactly, s = `plan.noise_std_units`.
    """

    def draw(self, plan: MechanismPlan) -> np.ndarray:
        """Return independent noise for each of the plan's K coordinates, int64 [K] in units."""
        if not plan.is_private:
            return np.zeros(plan.num_directions, dtype=np.int64)
        return np.array([discrete_gaussian(plan.noise_std_units) for _ in range(plan.num_directions)], dtype=np.int64)


def discrete_gaussian(std: int) -> int:
    """Draw from the discrete Gaussian with standard deviation parameter `std`, a whole number of at least 1."""
    if std < 1:
        raise ValueError(f"the noise needs a standard deviation of at least one unit, not {std}.")
    variance = std * std
    scale = std + 1
    while True:
        candidate = _discrete_laplace(scale)
        # accept with probability exp(−(|y| − s²/t)² / (2 s²)), as a fraction of integers
        excess = abs(candidate) * scale - variance
        if _bernoulli_exp(excess * excess, 2 * variance * scale * scale):
            return candidate


def _discrete_laplace(scale: int) -> int:
    """Draw from P(n) ∝ exp(−|n| / scale)."""
    while True:
        remainder = secrets.randbelow(scale)
        if not _bernoulli_exp(remainder, scale):
            continue
        quotient = 0
        while _bernoulli_exp(1, 1):
            quotient += 1
        magnitude = remainder + scale * quotient
        negative = secrets.randbits(1)
        if negative and magnitude == 0:
            continue
        return -magnitude if negative else magnitude


def _bernoulli_exp(numerator: int, denominator: int) -> bool:
    """Return True with probability exp(−numerator / denominator), exactly."""
    while numerator > denominator:
        if not _bernoulli_exp_unit(1, 1):
            return False
        numerator -= denominator
    return _bernoulli_exp_unit(numerator, denominator)


def _bernoulli_exp_unit(numerator: int, denominator: int) -> bool:
    """Return True with probability exp(−γ) for γ = numerator / denominator in [0, 1]."""
    trial = 1
    while secrets.randbelow(denominator * trial) < numerator:
        trial += 1
    return trial % 2 == 1
