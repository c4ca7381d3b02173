"""What every way of searching has in common: a cost that is declared before the search and recomputed from JSON."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.ledger.ledger import Cap


class Frozen(BaseModel):
    """A declaration: it cannot be changed after the fact, and what it does not know it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CostRule(Frozen, ABC):
    """What a search may release about its data set, fixed before it starts, and the ε of that.

    The ε is that of the declaration, spent or not: how much a search really draws depends on private results, and an ε
    computed from that is wrong.
    """

    @abstractmethod
    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        """Return the ε to report at `delta` (0: pure ε) and what vouches for it."""

    @abstractmethod
    def renyi(self, order: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        """Return the Rényi ε of everything at one order (above 1), to add to others' at that order; inf: none known.

        Formal guarantees:
            The Rényi divergence of everything released is at most the result, for every pair of adjacent data sets in
            both directions. Results at one order, fixed before any data is touched, add up over rules, runs and sweeps.
        """

    @abstractmethod
    def tokens(self) -> dict[str, Cap]:
        """Return what to reserve in the ledger: by kind of release, its law and how many in all."""

    @abstractmethod
    def describe(self) -> str:
        """Return one sentence on what may be released and why the ε holds, for the privacy statement."""

    def per_holder(self) -> dict[str, int]:
        """Return, by kind, the most tokens that one trial may draw; a kind that is missing has no such limit."""
        return {}

    @property
    def max_holders(self) -> int | None:
        """The most trials that may draw; None where only the caps count."""
        return None

    def epsilon(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        """Return the ε to report at `delta`.

        Formal guarantees:
            Everything that a search under this rule releases is together (ε, delta)-DP; see the class.
        """
        return self.certificate(delta, adjacency).epsilon

    def to_json(self) -> dict[str, Any]:
        """Return this rule as JSON values, from which `rules.rule_from_json` makes it again."""
        return self.model_dump(mode="json")


def check_order(order: float) -> None:
    """Refuse a Rényi order that is not finite and above 1 with a ValueError."""
    if not 1 < order < math.inf:
        raise ValueError(f"A Rényi order must be finite and above 1; got {order!r}.")


def times(tokens: Mapping[str, Cap], factor: int) -> dict[str, Cap]:
    """Return the caps of so many trials, from those of one."""
    return {kind: Cap(cap.parameters, cap.count * factor) for kind, cap in tokens.items()}
