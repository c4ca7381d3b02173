"""The claimed law of what one step releases: how likely an outcome is with the canary and without it.

All numbers are in multiples of the clipping norm C. The canary is one example whose clipped K-vector is known. The
score of a run is the logarithm of the exact likelihood ratio of its releases under the claim; by the Neyman-Pearson
lemma no test distinguishes the two worlds better. A new noise law is one entry in `DISTRIBUTIONS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from orchestrator.privacy.accountant.adjacency import Adjacency
from trainers.mechanism.plan import NoiseLaw


@dataclass(frozen=True)
class Distribution:
    """A noise law at scale 1.

    Args:
        log_density: logarithm of its density, up to a constant.
        spread: a statistic of one value; its mean is 1 at scale 1 and grows with the scale.
        spread_std: standard deviation of that statistic at scale 1.
        collision: Σ p² of the integer law, times its scale in units: the chance that two draws are equal.
        draw: draws values from a generator in a shape; for simulations only.
    """

    cdf: Callable[[np.ndarray], np.ndarray]
    log_density: Callable[[np.ndarray], np.ndarray]
    spread: Callable[[np.ndarray], np.ndarray]
    spread_std: float
    collision: float
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


DISTRIBUTIONS: dict[NoiseLaw, Distribution] = {
    "gaussian": Distribution(
        cdf=stats.norm.cdf,
        log_density=lambda x: -0.5 * x * x,
        spread=np.square,
        spread_std=2**0.5,
        collision=0.5 / np.pi**0.5,
        draw=lambda generator, shape: generator.standard_normal(shape),
    ),
    "laplace": Distribution(
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
    """The law of a step's release: a sum over a Poisson sample, plus noise on each coordinate.

    Args:
        sampling_prob: q, the probability that the canary is in a batch.
        noise_multiplier: the noise scale divided by C.
        adjacency: what is there without the canary. add-or-remove-one: nothing in its place; replace-one: an example
            with the opposite contribution.
    """

    noise: NoiseLaw
    sampling_prob: float
    noise_multiplier: float
    adjacency: Adjacency = "add-or-remove-one"

    def score(self, sums_TK: np.ndarray, canary_K: np.ndarray) -> np.ndarray:
        """Return the log likelihood ratio (with the canary over without it) of runs, summed over their steps, [...].

        Args:
            sums_TK: releases minus the sums of the other examples, [..., T, K] in multiples of C.
            canary_K: the canary's clipped vector, [K] in multiples of C.
        """
        with_T = self._mixture(sums_TK, canary_K)
        if self.adjacency == "replace-one":
            with_T = with_T - self._mixture(sums_TK, -canary_K)
        return with_T.sum(axis=-1)

    def simulate(
        self,
        generator: np.random.Generator,
        runs: int,
        num_steps: int,
        *,
        present: bool,
        noise_factor: float = 1.0,
        sampling_factor: float = 1.0,
        sensitivity_factor: float = 1.0,
    ) -> np.ndarray:
        """Return the scores of `runs` simulated runs, float64 [runs]; a factor is of a fault, in what is claimed.

        One coordinate is enough: Gaussian noise is the same along every canary of norm C, and under Laplace noise the
        canary has all its norm in one coordinate.
        """
        shape = (runs, num_steps)
        noise_RT = DISTRIBUTIONS[self.noise].draw(generator, shape) * self.noise_multiplier * noise_factor
        drawn_RT = (generator.random(shape) < self.sampling_prob * sampling_factor) * sensitivity_factor
        absent = 0.0 if self.adjacency == "add-or-remove-one" else -1.0
        sums_RT = noise_RT + drawn_RT * (1.0 if present else absent)
        return self.score(sums_RT[..., None], np.ones(1))

    def _mixture(self, sums_TK: np.ndarray, shift_K: np.ndarray) -> np.ndarray:
        """Return ln(1 − q + q · p(s − shift) / p(s)) of each step; p is the density of the noise."""
        density, sigma = DISTRIBUTIONS[self.noise].log_density, self.noise_multiplier
        ratio_T = (density((sums_TK - shift_K) / sigma) - density(sums_TK / sigma)).sum(axis=-1)
        with np.errstate(divide="ignore"):
            log_out = np.log1p(-self.sampling_prob)  # −inf at q = 1
        return np.logaddexp(log_out, np.log(self.sampling_prob) + ratio_T)
