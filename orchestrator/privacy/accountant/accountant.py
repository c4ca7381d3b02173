"""The accountant: from a `DpEvent` to the ε that may be said.

Privacy loss distributions (PLD) certify: pessimistic, on a grid fine enough for the smallest step, the same grid for
everything that is composed. Rényi DP brackets and cross-checks. Where a distribution would not fit into memory (far too
little noise, or steps too faint for the grid), a closed-form bound certifies instead and the certificate says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import dp_accounting as dp

from orchestrator.privacy.accountant import bounds
from orchestrator.privacy.accountant.adjacency import Adjacency, require_adjacency
from orchestrator.privacy.accountant.distribution import discretisation, loss_distribution
from orchestrator.privacy.accountant.events import Releases, read, validate

__all__ = [
    "Certificate",
    "certificate",
    "certify",
    "check_delta",
    "delta",
    "epsilon",
    "largest",
    "rdp_epsilon",
    "validate",
]

_SMALLEST_DELTA = 1e-12  # each self-composition moves 1e-15 of mass to infinity; stay well above


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
        Laplace event stands for one coordinate; K > 1 coordinates (L1 clip) are two-bucket randomised response, of
        which every ε₀-DP step is a post-processing.
    """
    return certificate(event, delta, adjacency).epsilon


def certificate(event: dp.DpEvent, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
    """Return the certified ε with the method behind it; arguments, errors and guarantee as for `epsilon`."""
    return certify(read(event), delta, adjacency)


def certify(releases: Releases, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
    """Return the certificate of what `events.read` found; errors and guarantee as for `epsilon`."""
    require_adjacency(adjacency)
    check_delta(delta)
    if not releases.private:
        return Certificate(math.inf, "none", None)
    if delta == 0:
        if releases.counts and adjacency != "add-or-remove-one":
            raise ValueError("Pure ε (delta = 0) is computed for add-or-remove-one only; give a delta above 0.")
        return Certificate(bounds.pure_epsilon(releases), "pure ε, closed form", None)
    return _certify(releases, float(delta), adjacency)


def largest(certificates: Iterable[Certificate]) -> Certificate:
    """Return the certificate with the largest ε."""
    return max(certificates, key=lambda certificate: certificate.epsilon)


def delta(event: dp.DpEvent, epsilon: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return the smallest certified δ at `epsilon` (≥ 0), never below the accountant's own floor of 1e-12.

    Raises:
        ValueError: for an event that is not understood, or one that no grid fits (see `certificate`).

    Formal guarantees:
        As for `epsilon`.
    """
    require_adjacency(adjacency)
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0; got {epsilon!r}.")
    releases = read(event)
    if not releases.private:
        return 1.0
    if not releases.counts:
        return 0.0
    losses = loss_distribution(releases, discretisation(releases), adjacency)
    if losses is None:
        raise ValueError("delta needs a privacy loss distribution: too little noise, or steps too faint, for one here.")
    found = float(losses.get_delta_for_epsilon(float(epsilon)))
    return min(1.0, max(found, _SMALLEST_DELTA))


def rdp_epsilon(event: dp.DpEvent, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return ε at `delta` by Rényi DP: a cross-check, looser than `epsilon` by some 8 %.

    Raises:
        ValueError: for replace-one (dp-accounting's RDP forgets the doubled sensitivity), for `delta` = 0, and for
            events that are not understood.
    """
    require_adjacency(adjacency)
    check_delta(delta)
    if adjacency != "add-or-remove-one":
        raise ValueError("RDP is computed for add-or-remove-one only; replace-one goes through PLD: use epsilon().")
    if delta == 0:
        raise ValueError("RDP needs a delta above 0; got 0.")
    return bounds.renyi_epsilon(read(event), delta)


@lru_cache(maxsize=512)
def _certify(releases: Releases, delta: float, adjacency: Adjacency) -> Certificate:
    """Certify 0 < delta < 1; cached because a search and its report ask for the same compositions again."""
    if not releases.counts:
        return Certificate(0.0, "nothing is released", None)
    grid = discretisation(releases)
    losses = loss_distribution(releases, grid, adjacency)
    if losses is not None:
        return Certificate(max(0.0, float(losses.get_epsilon_for_delta(delta))), "PLD", grid)
    if adjacency != "add-or-remove-one":
        raise ValueError(
            "replace-one needs a privacy loss distribution: too little noise, or steps too faint, for one here."
        )
    return Certificate(bounds.quick_epsilon(releases, delta), "RDP, off the PLD grid", None)


def check_delta(delta: float) -> None:
    """Refuse a δ out of range with a ValueError."""
    if not (delta == 0 or _SMALLEST_DELTA <= delta < 1):
        raise ValueError(f"delta must be 0 (pure ε) or in [{_SMALLEST_DELTA:g}, 1); got {delta!r}.")
