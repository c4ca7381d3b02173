"""What tests ask the accountant beside ε: cross-checks that no run needs."""

from __future__ import annotations

import dp_accounting as dp

from orchestrator.privacy.accountant.accountant import Certificate, certify
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.bounds import renyi_epsilon
from orchestrator.privacy.accountant.distribution import discretisation, loss_distribution
from orchestrator.privacy.accountant.events import read


def certificate(event: dp.DpEvent, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
    return certify(read(event), delta, adjacency)


def delta(event: dp.DpEvent, epsilon: float) -> float:
    """Return δ at an ε by the privacy loss distribution."""
    releases = read(event)
    losses = loss_distribution(releases, discretisation(releases), "add-or-remove-one")
    assert losses is not None
    return float(losses.get_delta_for_epsilon(epsilon))


def rdp_epsilon(event: dp.DpEvent, delta: float) -> float:
    """Return ε by Rényi DP: a looser answer by another method."""
    return renyi_epsilon(read(event), delta)
