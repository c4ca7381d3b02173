"""Upper bounds on ε that need no grid: pure ε in closed form, and Rényi DP.

Each bound is a theorem and certifies by itself. The searches for a noise multiplier or a number of trials start from
these bounds and take the slower privacy loss distributions (PLD) for the last few tries. The bounds also certify where
a PLD would not fit into memory (ε in the hundreds), or δ is below what rounding errors allow it. Rényi budgets and
filters are built on them.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import dp_accounting as dp
import numpy as np
from dp_accounting.rdp import RdpAccountant, compute_epsilon, rdp_privacy_accountant
from numpy.typing import NDArray

from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.events import Release, Releases

ALL_ORDERS = tuple(float(order) for order in rdp_privacy_accountant.DEFAULT_RDP_ORDERS)
# Any set of orders is valid; these lose about 1 % and take a tenth of the time of all (fractional orders are slow).
_WHOLE_ORDERS = (*range(2, 17), 20, 24, 28, 32, 40, 48, 64, 96, 128, 256, 512)
FEW_ORDERS = (1.1, 1.25, 1.5, 1.75, 2.5, *(float(order) for order in _WHOLE_ORDERS))


def to_event(release: Release) -> dp.DpEvent:
    """Return the event of one Gaussian or Laplace release, without Poisson sampling where everyone takes part."""
    make = dp.GaussianDpEvent if release.noise == "gaussian" else dp.LaplaceDpEvent
    event = make(release.noise_multiplier)
    return event if release.sampling_prob == 1.0 else dp.PoissonSampledDpEvent(release.sampling_prob, event)


def pure_epsilon(releases: Releases, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return ε at δ = 0: Σ count · ln(1 + q(e^{1/σ} − 1)), under replace-one twice; inf with any Gaussian release.

    Formal guarantees:
        An ε_0-DP step on a Poisson sample of rate q is ln(1 + q(e^{ε_0} − 1))-DP; pure ε adds up. Laplace noise of
        scale σ·C on an L1 sensitivity C is 1/σ-DP in any number of coordinates. A replacement is a removal, then an
        addition.
    """
    if not releases.private or any(release.noise == "gaussian" for release, _ in releases.counts):
        return math.inf
    removals = 2 if adjacency == "replace-one" else 1
    return removals * math.fsum(count * step_pure_epsilon(release) for release, count in releases.counts)


def renyi(
    releases: Releases, orders: Sequence[float], adjacency: Adjacency = "add-or-remove-one"
) -> NDArray[np.float64]:
    """Return the Rényi ε of a composition at each order (above 1); inf without noise.

    Formal guarantees:
        Each release's Rényi divergence at an order is at most the value used, in both directions: Gaussian, and Laplace
        over everyone, by dp-accounting; Poisson-sampled Laplace and pure releases by their dominating pair
        (`two_losses`). Rényi ε at one order adds up under adaptive composition. A replacement is a removal, then an
        addition: D_α ≤ (α − ½)/(α − 1) · D_2α + D_(2α−1) (Mironov (2017), Prop. 11 with p = q = 2, arXiv:1702.07476).
    """
    if adjacency == "replace-one":
        alpha = np.array(orders, dtype=np.float64)
        removed, added = renyi(releases, tuple(2 * alpha)), renyi(releases, tuple(2 * alpha - 1))
        return (alpha - 0.5) / (alpha - 1) * removed + added
    total = np.zeros(len(orders)) if releases.private else np.full(len(orders), math.inf)
    for release, count in releases.counts:
        total += count * np.array(_step_renyi(release, tuple(orders)))
    return total


def renyi_epsilon(releases: Releases, delta: float, orders: Sequence[float] = ALL_ORDERS) -> float:
    """Return ε at `delta` by Rényi DP; 8 % above PLD, typically, with all orders of dp-accounting."""
    return from_renyi(orders, renyi(releases, orders), delta)


def from_renyi(orders: Sequence[float], values: Sequence[float] | NDArray[np.floating], delta: float) -> float:
    """Return ε at `delta` of a mechanism with Rényi ε `values` at `orders`, by dp-accounting's conversion."""
    with _quiet_absl():
        return float(compute_epsilon(orders, list(values), delta)[0])


def quick_epsilon(releases: Releases, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return an upper bound on ε at `delta` (0 < delta < 1) in milliseconds.

    Formal guarantees:
        The smaller of the pure sum and the conversion of the Rényi sum.
    """
    return min(pure_epsilon(releases, adjacency), from_renyi(FEW_ORDERS, renyi(releases, FEW_ORDERS, adjacency), delta))


def two_losses(release: Release) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the two outcomes that dominate an ε_0-DP step on a Poisson sample of rate q.

    Each is (loss, probability without the example); the larger loss comes first. The loss is the logarithm of the
    probability with the example over the probability without it.

    Formal guarantees:
        Let A and B be the two laws of randomised response. Given the rest of the sample, the step with and without the
        example is a post-processing of (A, B): see `events.pure_step`. The example is in the sample with probability q,
        independently, and mixing commutes with post-processing. So the pair (with the example, without it) is a
        post-processing of ((1 − q)B + qA, B), whose losses are returned.
    """
    base, q = 1.0 / release.noise_multiplier, release.sampling_prob
    unlikely = 1.0 / (1.0 + math.exp(min(base, 700.0)))
    lower = -base if q == 1.0 else math.log1p(q * math.expm1(-base))
    return (step_pure_epsilon(release), unlikely), (lower, 1.0 - unlikely)


def step_pure_epsilon(release: Release) -> float:
    """Return ln(1 + q(e^{1/σ} − 1)), the pure ε of one Laplace or pure release on its Poisson sample."""
    base = 1.0 / release.noise_multiplier
    if base > 500.0:  # e^base would overflow; ln(1 + q(e^base − 1)) ≤ base
        return base
    return math.log1p(release.sampling_prob * math.expm1(base))


@lru_cache(maxsize=256)
def _step_renyi(release: Release, orders: tuple[float, ...]) -> tuple[float, ...]:
    if release.noise == "pure" or (release.noise == "laplace" and release.sampling_prob < 1.0):
        return tuple(_two_point_renyi(release, order) for order in orders)
    accountant = RdpAccountant(orders)
    with _quiet_absl():
        accountant.compose(to_event(release))
    return tuple(float(value) for value in accountant.rdp)


def _two_point_renyi(release: Release, order: float) -> float:
    """Return the larger Rényi divergence of the dominating pair, over both directions; at most its largest loss."""
    (up, _), _ = losses = two_losses(release)
    if order * up > 500.0:
        return up
    moments = (math.fsum(p * math.expm1(power * loss) for loss, p in losses) for power in (order, 1.0 - order))
    return min(up, max(0.0, max(math.log1p(moment) for moment in moments) / (order - 1.0)))


@contextmanager
def _quiet_absl() -> Iterator[None]:
    """Silence the library's warning about Rényi orders that it leaves out: leaving one out only raises ε."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
