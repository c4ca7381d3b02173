"""Privacy loss distributions of a composition: pessimistic, on one grid that is fine enough for the smallest step.

Where a distribution would take too much memory or time, `loss_distribution` returns None, and the bounds of `bounds.py`
take its place.
"""

import math
from functools import lru_cache

import dp_accounting as dp
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

from orchestrator.privacy.accountant import bounds
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.composition import compose
from orchestrator.privacy.accountant.events import Release, Releases
from orchestrator.privacy.accountant.profile import of_two_losses

_RELATIONS = {
    "add-or-remove-one": dp.NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace-one": dp.NeighboringRelation.REPLACE_ONE,
}
_COARSEST_GRID = 1e-4
_FINEST_GRID = 1e-7  # below, rounding in the library's second differences shows
_MAX_STEP_POINTS = 5e5  # takes two seconds: dp-accounting builds one step in a dict
MAX_COMPOSED_POINTS = 1e7  # takes five seconds and 1 GB, by FFT


def discretisation(releases: Releases) -> float:
    """Return the width of the grid for a composition: min(1e-4, 0.1·q/σ) over its releases."""
    finest = [0.1 * release.sampling_prob / release.noise_multiplier for release, _ in releases.counts]
    return min([_COARSEST_GRID, *finest])


@lru_cache(maxsize=2)
def loss_distribution(releases: Releases, grid: float, adjacency: Adjacency) -> PrivacyLossDistribution | None:
    """Return the pessimistic loss distribution of a composition, in both directions; None where it cannot fit.

    Raises:
        ValueError: for Laplace noise under replace-one.

    Formal guarantees:
        For every pair of adjacent data sets, the hockey-stick divergence of the composition, adaptive or not, is at
        most the distribution's, at every ε from −∞ to ∞, in each direction.
    """
    return _compose(releases, grid, adjacency) if _fits(releases, grid, adjacency) else None


def _compose(releases: Releases, grid: float, adjacency: Adjacency) -> PrivacyLossDistribution | None:
    parts = [(_step(release, grid, adjacency), count) for release, count in _merged(releases)]
    return compose(parts, MAX_COMPOSED_POINTS)


def _merged(releases: Releases) -> list[tuple[Release, int]]:
    """Return the releases with n Gaussians over everyone as one with σ/√n, which is exact."""
    return [
        (Release("gaussian", 1.0, release.noise_multiplier / math.sqrt(count)), 1)
        if release.noise == "gaussian" and release.sampling_prob == 1.0
        else (release, count)
        for release, count in releases.counts
    ]


@lru_cache(maxsize=8)
def _step(release: Release, grid: float, adjacency: Adjacency) -> PrivacyLossDistribution:
    """Return the loss distribution of one release; cached, because it is slow and the same for any number of steps."""
    if release.noise == "gaussian":
        return privacy_loss_distribution.from_gaussian_mechanism(
            release.noise_multiplier,
            value_discretization_interval=grid,
            sampling_prob=release.sampling_prob,
            neighboring_relation=_RELATIONS[adjacency],
        )
    if adjacency != "add-or-remove-one":
        raise ValueError("Laplace noise is accounted for add-or-remove-one only; take Gaussian noise.")
    if release.noise == "pure":
        return of_two_losses(bounds.two_losses(release), grid)
    return privacy_loss_distribution.from_laplace_mechanism(
        release.noise_multiplier, value_discretization_interval=grid, sampling_prob=release.sampling_prob
    )


def _fits(releases: Releases, grid: float, adjacency: Adjacency) -> bool:
    """Return whether each step, and many Gaussians in one, stay within the allowed number of grid points."""
    if grid < _FINEST_GRID or not releases.private:
        return False
    step, merged = (
        max(_step_range(release, adjacency) for release, _ in counts) for counts in (releases.counts, _merged(releases))
    )
    return step <= _MAX_STEP_POINTS * grid and merged <= MAX_COMPOSED_POINTS * grid


def _step_range(release: Release, adjacency: Adjacency) -> float:
    """Return about the range of one step's privacy loss; Gaussian noise counts up to 10 standard deviations."""
    scale = 1 / release.noise_multiplier
    largest = scale * scale / 2 + 10 * scale if release.noise == "gaussian" else scale
    least = math.inf if release.sampling_prob == 1.0 else -math.log1p(-release.sampling_prob)
    # e^500 would overflow soon, and sampling hardly helps there
    amplified = largest if largest > 500.0 else math.log1p(release.sampling_prob * math.expm1(largest))
    # With the example the loss is up to `amplified`; without it at least ln(1 − q), as it may not be drawn. A
    # replacement does both at once.
    one_side = amplified + min(largest, least)
    return 2 * one_side if adjacency == "replace-one" else one_side
