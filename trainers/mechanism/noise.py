"""Exact integer noise from the operating system's entropy.

Samplers of the discrete Gaussian and Laplace laws with integer arithmetic only (Canonne, Kamath & Steinke, "The
Discrete Gaussian for Differential Privacy", 2020, arXiv:2004.00010, Algorithms 1-3). Nothing here takes a seed or
shares a generator with the public directions: anyone could subtract noise that they can draw again
(docs/pitfalls.md#noise-from-the-directions-seed, docs/pitfalls.md#noise-from-a-floating-point-generator).
"""

import secrets
from typing import Protocol

import numpy as np

from trainers.mechanism.plan import MechanismPlan


class Noise(Protocol):
    """Draws the noise of one step."""

    def draw(self, plan: MechanismPlan) -> np.ndarray:
        """Return independent noise for each coordinate of a release, int64 [num_coordinates] in grid units."""
        ...


class ExactNoise:
    """Noise of the plan's law and scale on each coordinate.

    Formal guarantees:
        Coordinates and steps are independent, and with s = `plan.noise_scale_grid_units`, exactly
        P(n) ∝ exp(−n² / (2 s²)) for Gaussian, P(n) ∝ exp(−|n| / s) for Laplace noise.
    """

    def draw(self, plan: MechanismPlan) -> np.ndarray:
        if not plan.is_private:
            return np.zeros(plan.num_coordinates, dtype=np.int64)
        law = discrete_laplace if plan.noise == "laplace" else discrete_gaussian
        return np.array([law(plan.noise_scale_grid_units) for _ in range(plan.num_coordinates)], dtype=np.int64)


def discrete_gaussian(std: int) -> int:
    """Draw from P(n) ∝ exp(−n² / (2 · std²)), `std` a whole number of at least 1."""
    _require_a_unit(std)
    variance = std * std
    scale = std + 1
    while True:
        candidate = discrete_laplace(scale)
        # accept with probability exp(−(|y| − s²/t)² / (2 s²)), as a fraction of integers
        excess = abs(candidate) * scale - variance
        if _bernoulli_exp(excess * excess, 2 * variance * scale * scale):
            return candidate


def discrete_laplace(scale: int) -> int:
    """Draw from P(n) ∝ exp(−|n| / scale), `scale` a whole number of at least 1."""
    _require_a_unit(scale)
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


def _require_a_unit(scale: int) -> None:
    if scale < 1:
        raise ValueError(f"the noise needs a scale of at least one unit of the grid, not {scale}.")


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
