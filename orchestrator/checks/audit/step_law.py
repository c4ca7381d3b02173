"""The law that one step claims: its noise, its rate, and how likely an outcome is with a canary and without.

Everything is in multiples of the clipping norm C. A canary is one example whose clipped K-vector is known; the score of
a run is the logarithm of the exact likelihood ratio of what was released, under the claim (Neyman-Pearson: no test
tells the two worlds apart better). A new kind of noise is one entry in `NOISE_LAWS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from orchestrator.privacy.accountant.adjacency import Adjacency

Noise = Literal["gaussian", "laplace"]


@dataclass(frozen=True)
class NoiseLaw:
    """One kind of noise at scale 1.

    Args:
        cdf: its distribution function.
        log_density: logarithm of its density, up to a constant.
        spread: the statistic of one value whose mean is the scale's (and 1 at scale 1).
        spread_std: standard deviation of that statistic at scale 1.
        collision: Σ p² of the integer law at scale 1, times the scale in units: how often two draws are equal.
        draw: from a generator and a shape to values, for simulations alone.
    """

    cdf: Callable[[np.ndarray], np.ndarray]
    log_density: Callable[[np.ndarray], np.ndarray]
    spread: Callable[[np.ndarray], np.ndarray]
    spread_std: float
    collision: float
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


NOISE_LAWS: dict[Noise, NoiseLaw] = {
    "gaussian": NoiseLaw(
        cdf=stats.norm.cdf,
        log_density=lambda x: -0.5 * x * x,
        spread=np.square,
        spread_std=2**0.5,
        collision=0.5 / np.pi**0.5,
        draw=lambda generator, shape: generator.standard_normal(shape),
    ),
    "laplace": NoiseLaw(
        cdf=stats.laplace.cdf,
        log_density=lambda x: -np.abs(x),
        spread=np.abs,
        spread_std=1.0,
        collision=0.25,
        draw=lambda generator, shape: generator.laplace(size=shape),
    ),
}


@dataclass(frozen=True)
class StepLaw:
    """What one step claims to release: a sum over a Poisson sample, plus noise on each coordinate.

    Args:
        noise: kind of noise.
        sampling_prob: q, of the canary's being in a batch.
        noise_multiplier: noise scale / C.
        adjacency: the two worlds. add-or-remove-one: the canary is there or not; replace-one: it is there, or another
            one with the opposite contribution.
    """

    noise: Noise
    sampling_prob: float
    noise_multiplier: float
    adjacency: Adjacency = "add-or-remove-one"

    def score(self, sums_TK: np.ndarray, canary_K: np.ndarray) -> np.ndarray:
        """Return the log likelihood ratio, with the canary over without, of releases [..., T, K] less all others' part.

        `canary_K` is the canary's clipped vector; both in multiples of C. Summed over the steps: shape [...].
        """
        with_T = self._mixture(sums_TK, canary_K)
        if self.adjacency == "replace-one":
            with_T = with_T - self._mixture(sums_TK, -canary_K)
        return with_T.sum(axis=-1)

    def simulate(
        self, generator: np.random.Generator, runs: int, num_steps: int, *, present: bool, noise_factor: float = 1.0
    ) -> np.ndarray:
        """Return the scores of `runs` simulated runs, float64 [runs]; the noise is `noise_factor` times the claimed.

        One coordinate stands for all: Gaussian noise looks the same along every canary of norm C, and Laplace noise is
        tried with a canary that has all its norm in one coordinate.
        """
        shape = (runs, num_steps)
        noise_RT = NOISE_LAWS[self.noise].draw(generator, shape) * self.noise_multiplier * noise_factor
        drawn_RT = (generator.random(shape) < self.sampling_prob).astype(np.float64)
        absent = 0.0 if self.adjacency == "add-or-remove-one" else -1.0
        sums_RT = noise_RT + drawn_RT * (1.0 if present else absent)
        return self.score(sums_RT[..., None], np.ones(1))

    def _mixture(self, sums_TK: np.ndarray, shift_K: np.ndarray) -> np.ndarray:
        """Return ln(1 − q + q · p(s − shift) / p(s)) of each step; for Gaussian noise the ratio is e^{(2x−1)/(2σ²)}."""
        density, sigma = NOISE_LAWS[self.noise].log_density, self.noise_multiplier
        ratio_T = (density((sums_TK - shift_K) / sigma) - density(sums_TK / sigma)).sum(axis=-1)
        with np.errstate(divide="ignore"):
            stays = np.log1p(-self.sampling_prob)  # −inf at q = 1
        return np.logaddexp(stays, np.log(self.sampling_prob) + ratio_T)
