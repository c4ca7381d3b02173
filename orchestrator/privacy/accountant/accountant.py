"""The accountant: from a `DpEvent`, or the releases in it, to an ε that may be reported.

Privacy loss distributions (PLD) certify: they are pessimistic, and everything that is composed lies on one grid that is
fine enough for the smallest step; what rounding may hide is added to them (docs/proofs/round_off.md). Where that leaves
nothing of δ, or a distribution would not fit into memory (far too little noise, or steps too faint for the grid), a
bound by Rényi DP or in closed form certifies instead, and the certificate names it.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import dp_accounting as dp

from orchestrator.privacy.accountant import bounds
from orchestrator.privacy.accountant.adjacency import Adjacency, require_adjacency
from orchestrator.privacy.accountant.distribution import discretisation, loss_distribution
from orchestrator.privacy.accountant.events import Releases, read

_SMALLEST_DELTA = 1e-12  # below, rounding errors are larger than δ from a thousand steps on


class Certificate(NamedTuple):
    """An ε, the method that certified it, and the width of the method's grid (None: no grid)."""

    epsilon: float
    method: str
    discretisation: float | None


def epsilon(event: dp.DpEvent, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return the smallest certified ε of an event at `delta`; see `certify`.

    Raises:
        ValueError: as for `certify`, or for an event that is not understood (see `events.read`).
    """
    return certify(read(event), delta, adjacency).epsilon


def certify(releases: Releases, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
    """Return the smallest certified ε of a composition at `delta`; inf where something is released without noise.

    Args:
        releases: what `events.read` returned.
        delta: 0 (pure ε, Laplace noise only) or in [1e-12, 1).
        adjacency: which pairs of data sets must be indistinguishable.

    Raises:
        ValueError: a `delta` out of range, or Laplace noise under replace-one.

    Formal guarantees:
        The adaptive composition of the releases is (ε, delta)-DP for every pair of adjacent data sets. Laplace noise
        on one coordinate is accounted exactly; on K > 1 coordinates (L1 clip) as a pure step, see `events.pure_step`.
    """
    require_adjacency(adjacency)
    require_delta(delta)
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


@lru_cache(maxsize=512)
def _certify(releases: Releases, delta: float, adjacency: Adjacency) -> Certificate:
    """Certify at 0 < delta < 1; cached because a search and its report ask for the same compositions again."""
    if not releases.counts:
        return Certificate(0.0, "nothing is released", None)
    grid = discretisation(releases)
    losses = loss_distribution(releases, grid, adjacency)
    certified = math.inf if losses is None else max(0.0, float(losses.get_epsilon_for_delta(delta)))
    bound = bounds.quick_epsilon(releases, delta, adjacency)
    return Certificate(certified, "PLD", grid) if certified <= bound else Certificate(bound, "RDP", None)


def require_delta(delta: float) -> None:
    """Refuse a δ out of range with a ValueError."""
    if not (delta == 0 or _SMALLEST_DELTA <= delta < 1):
        raise ValueError(f"delta must be 0 (pure ε) or in [{_SMALLEST_DELTA:g}, 1); got {delta!r}.")
