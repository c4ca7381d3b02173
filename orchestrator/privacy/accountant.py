"""The accountant: from a `DpEvent` to the ε that may be said.

Privacy loss distributions (PLD) certify: pessimistic, on a grid fine enough for the smallest step, the same grid for
everything that is composed. Rényi DP brackets and cross-checks. Where a distribution would not fit into memory (far too
little noise, or steps too faint for the grid), a closed-form bound certifies instead and the certificate says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import dp_accounting as dp
import numpy as np
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

from orchestrator.privacy import bounds
from orchestrator.privacy.events import Release, Releases, read, validate

__all__ = ["Adjacency", "Certificate", "certificate", "delta", "epsilon", "privacy_profile", "rdp_epsilon", "validate"]

Adjacency = Literal["add-or-remove-one", "replace-one"]

_RELATIONS = {
    "add-or-remove-one": dp.NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace-one": dp.NeighboringRelation.REPLACE_ONE,
}
_COARSEST_GRID = 1e-4
_FINEST_GRID = 1e-7  # below, rounding in the library's second differences shows
_SMALLEST_DELTA = 1e-12  # each self-composition moves 1e-15 of mass to infinity; stay well above
_MAX_STEP_POINTS = 5e5  # two seconds: dp-accounting builds one step through a dict
_MAX_COMPOSED_POINTS = 1e7  # five seconds and 1 GB, by FFT


class Certificate(NamedTuple):
    """An ε and what vouches for it: the method's name and the grid of the loss (None where no grid was used)."""

    epsilon: float
    method: str
    discretisation: float | None


def epsilon(event: dp.DpEvent, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return the smallest certified ε of an event at `delta`.

    Args:
        event: a composition of steps; see `validate` for what is understood.
        delta: 0 (pure ε, Laplace noise only) or in [1e-12, 1).
        adjacency: which pairs of data sets must be indistinguishable.

    Raises:
        ValueError: for an event that is not understood, a `delta` out of range, or replace-one where only
            add-or-remove-one is proven.

    Formal guarantees:
        The adaptive composition that the event describes is (ε, delta)-DP for every pair of adjacent data sets. A
        Laplace event stands for one coordinate; for K > 1 coordinates (L1 clip) only `delta` = 0 is proven here.
    """
    return certificate(event, delta, adjacency).epsilon


def certificate(event: dp.DpEvent, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
    """Return the certified ε with the method behind it; arguments, errors and guarantee as for `epsilon`."""
    _check_adjacency(adjacency)
    _check_delta(delta)
    releases = read(event)
    if not releases.private:
        return Certificate(math.inf, "none", None)
    if delta == 0:
        if releases.counts and adjacency != "add-or-remove-one":
            raise ValueError("Pure ε (delta = 0) is computed for add-or-remove-one only; give a delta above 0.")
        return Certificate(bounds.pure_epsilon(releases), "pure ε, closed form", None)
    return _certify(releases, float(delta), adjacency)


def delta(event: dp.DpEvent, epsilon: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return the smallest certified δ at `epsilon` (≥ 0), never below the accountant's own floor of 1e-12.

    Raises:
        ValueError: for an event that is not understood, or one that no grid fits (see `certificate`).

    Formal guarantees:
        As for `epsilon`.
    """
    return float(privacy_profile(event, [epsilon], adjacency)[0])


def privacy_profile(
    event: dp.DpEvent, epsilons: Sequence[float], adjacency: Adjacency = "add-or-remove-one"
) -> np.ndarray:
    """Return the smallest certified δ at each of `epsilons` (≥ 0), float64 [E]; see `delta` for the rest."""
    _check_adjacency(adjacency)
    asked = np.asarray(epsilons, dtype=np.float64)
    if not (asked >= 0).all():
        raise ValueError(f"epsilon must be at least 0; got {', '.join(repr(value) for value in epsilons)}.")
    releases = read(event)
    if not releases.private:
        return np.ones_like(asked)
    if not releases.counts:
        return np.zeros_like(asked)
    grid = discretisation(releases)
    if not _fits(releases, grid, adjacency):
        raise ValueError("delta needs a privacy loss distribution: too little noise, or steps too faint, for one here.")
    composed = _compose(releases, grid, adjacency)
    # one by one: the library's form for many at once subtracts large numbers from each other
    found = np.array([composed.get_delta_for_epsilon(value) for value in asked.tolist()])
    return np.clip(found, _SMALLEST_DELTA, 1.0)


def rdp_epsilon(event: dp.DpEvent, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return ε at `delta` by Rényi DP: a cross-check, looser than `epsilon` by some 8 %.

    Raises:
        ValueError: for replace-one (dp-accounting's RDP forgets the doubled sensitivity), for Poisson-sampled Laplace
            noise, for `delta` = 0, and for events that are not understood.
    """
    _check_adjacency(adjacency)
    _check_delta(delta)
    if adjacency != "add-or-remove-one":
        raise ValueError("RDP is computed for add-or-remove-one only; replace-one goes through PLD: use epsilon().")
    if delta == 0:
        raise ValueError("RDP needs a delta above 0; got 0.")
    return bounds.renyi_epsilon(read(event), delta)


def discretisation(releases: Releases) -> float:
    """Return the one grid width that everything is composed on: min(1e-4, 0.1·q/σ) over the releases."""
    finest = [0.1 * release.sampling_prob / release.noise_multiplier for release, _ in releases.counts]
    return min([_COARSEST_GRID, *finest])


@lru_cache(maxsize=512)
def _certify(releases: Releases, delta: float, adjacency: Adjacency) -> Certificate:
    """Certify 0 < delta < 1; cached because a search and its report ask for the same compositions again."""
    if not releases.counts:
        return Certificate(0.0, "nothing is released", None)
    grid = discretisation(releases)
    if _fits(releases, grid, adjacency):
        found = float(_compose(releases, grid, adjacency).get_epsilon_for_delta(delta))
        return Certificate(max(0.0, found), "PLD", grid)
    if adjacency != "add-or-remove-one":
        raise ValueError(
            "replace-one needs a privacy loss distribution: too little noise, or steps too faint, for one here."
        )
    return Certificate(bounds.quick_epsilon(releases, delta), "RDP and advanced composition, off the PLD grid", None)


def _compose(releases: Releases, grid: float, adjacency: Adjacency) -> PrivacyLossDistribution:
    """Return the loss distribution of the composition, in the order of the (sorted) releases."""
    composed = privacy_loss_distribution.identity(value_discretization_interval=grid)
    for release, count in releases.counts:
        if release.noise == "gaussian" and release.sampling_prob == 1.0:  # n Gaussians are one with σ/√n, exactly
            together = Release("gaussian", 1.0, release.noise_multiplier / math.sqrt(count))
            composed = composed.compose(_step(together, grid, adjacency))
        else:
            composed = composed.compose(_step(release, grid, adjacency).self_compose(count))
    return composed


@lru_cache(maxsize=8)
def _step(release: Release, grid: float, adjacency: Adjacency) -> PrivacyLossDistribution:
    """Return one release's loss distribution: the slow part, and the same for every number of steps."""
    if release.noise == "gaussian":
        return privacy_loss_distribution.from_gaussian_mechanism(
            release.noise_multiplier,
            value_discretization_interval=grid,
            sampling_prob=release.sampling_prob,
            neighboring_relation=_RELATIONS[adjacency],
        )
    if adjacency != "add-or-remove-one":
        raise ValueError("Laplace noise is accounted for add-or-remove-one only; take Gaussian noise.")
    return privacy_loss_distribution.from_laplace_mechanism(
        release.noise_multiplier, value_discretization_interval=grid, sampling_prob=release.sampling_prob
    )


def _fits(releases: Releases, grid: float, adjacency: Adjacency) -> bool:
    """Whether one step, and the composition, stay within the numbers of grid points that memory and patience allow."""
    if grid < _FINEST_GRID:
        return False
    sensitivity = 2.0 if adjacency == "replace-one" else 1.0
    if max(_step_range(release, sensitivity) for release, _ in releases.counts) > _MAX_STEP_POINTS * grid:
        return False
    # The loss stays, but for 1e-15, within about ± the ε at that delta; replace-one is felt as half the noise.
    felt = tuple((Release(r.noise, r.sampling_prob, r.noise_multiplier / sensitivity), n) for r, n in releases.counts)
    return 2 * bounds.quick_epsilon(Releases(felt, True), 1e-15) <= _MAX_COMPOSED_POINTS * grid


def _step_range(release: Release, sensitivity: float) -> float:
    """Return a bound on the width of one step's privacy loss, Gaussian noise cut at 10 standard deviations."""
    scale = sensitivity / release.noise_multiplier
    largest = scale if release.noise == "laplace" else scale * scale / 2 + 10 * scale
    if release.sampling_prob == 1.0 or largest > 500.0:  # e^largest would overflow, and sampling hardly helps there
        return 2 * largest
    amplified = math.log1p(release.sampling_prob * math.expm1(largest))
    least = -math.log1p(-release.sampling_prob)  # an example that was probably not drawn hides the rest of the tail
    return 2 * amplified if sensitivity > 1 else amplified + min(amplified, least)


def _check_adjacency(adjacency: str) -> None:
    if adjacency not in _RELATIONS:
        raise ValueError(f"adjacency must be one of {', '.join(_RELATIONS)}; got {adjacency!r}.")


def _check_delta(delta: float) -> None:
    if not (delta == 0 or _SMALLEST_DELTA <= delta < 1):
        raise ValueError(f"delta must be 0 (pure ε) or in [{_SMALLEST_DELTA:g}, 1); got {delta!r}.")
