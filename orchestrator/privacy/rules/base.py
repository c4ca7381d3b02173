"""What every rule has in common: a cost that is declared before a search, and that a reader can recompute from JSON."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.laws import Frozen

if TYPE_CHECKING:
    from orchestrator.privacy.rules.caps import SweepCaps

ALL_RELEASED = "every trial: its weights, hyperparameters, scores, number of steps, and the log of noisy values"


class CostRule(Frozen, ABC):
    """What a search may release about its data set, fixed before it starts, and the ε of that.

    The ε is that of the declaration, spent or not: how much a search really draws depends on private results, and an ε
    computed from that is wrong. Statement, ledger and terminal ask the rule what may be shown.
    """

    @property
    @abstractmethod
    def title(self) -> str:
        """The name of the rule, for people."""

    @abstractmethod
    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        """Return the ε to report at `delta` (0: pure ε) and what vouches for it."""

    @abstractmethod
    def bound(self, delta: float) -> float:
        """Return an upper bound on the ε under add-or-remove-one, in milliseconds: searches start from it."""

    @abstractmethod
    def renyi(self, order: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        """Return the Rényi ε of everything at one order (above 1), to add to others' at that order; inf: none known.

        Formal guarantees:
            The Rényi divergence of everything released is at most the result, for every pair of adjacent data sets in
            both directions. Results at one order, fixed before any data is touched, add up over rules, runs and sweeps.
        """

    @abstractmethod
    def tokens(self) -> dict[str, Cap]:
        """Return what to reserve in the ledger: by kind of release, its law, the most in all and to one trial."""

    @abstractmethod
    def describe(self) -> str:
        """Return one sentence on what may be released and why the ε holds, for the privacy statement."""

    @property
    def trial_kinds(self) -> tuple[SweepCaps, ...]:
        """What a trial of each kind may release; empty where each trial declares its own noise and rate."""
        return ()

    @property
    def released(self) -> str:
        """What leaves the operator, in words."""
        return ALL_RELEASED

    @property
    def is_secret(self) -> bool:
        """Whether the number of trials, and so of drawn tokens, must stay with the operator."""
        return False

    def draw_secret(self) -> dict[str, Any] | None:
        """Draw what is random and secret, to be kept with the reservation; None where nothing is."""
        return None

    def shown_caps(self) -> dict[str, int]:
        """Return the caps by kind that a statement may show."""
        return {kind: cap.count for kind, cap in self.tokens().items()}

    @property
    def max_holders(self) -> int | None:
        """The most trials that may draw; None where only the caps count."""
        return None

    @property
    def reuses_tokens(self) -> bool:
        """Whether it may take over undrawn tokens of the same laws that closed reservations were charged for."""
        return False

    def without(self, reused: Mapping[str, int]) -> Self | None:
        """Return this rule less tokens, by kind, that were charged before; None if nothing is left to charge.

        ValueError if tokens are to be taken over, and this rule does not charge token by token.
        """
        if reused:
            raise ValueError(f"The rule {self.title!r} charges more than single tokens: it can take over none.")
        return self

    def on_scored_rows(self) -> Self | None:
        """Return what is charged to rows that trials are scored on and not trained on; None: nothing."""
        return self

    def epsilon_of_drawn(self, drawn: Mapping[str, int], delta: float, adjacency: Adjacency) -> float | None:
        """Return the ε of so many tokens by kind, for information; None where drawn tokens have no ε of their own."""
        return None

    def epsilon(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        """Return the ε to report at `delta`: all that a search under this rule releases is together (ε, delta)-DP."""
        return self.certificate(delta, adjacency).epsilon

    def to_json(self) -> dict[str, Any]:
        """Return this rule as JSON values, from which `registry.rule_from_json` makes it again."""
        return self.model_dump(mode="json")


def require_order(order: float) -> None:
    """Refuse a Rényi order that is not finite and above 1 with a ValueError."""
    if not 1 < order < math.inf:
        raise ValueError(f"A Rényi order must be finite and above 1; got {order!r}.")


def of_trials(tokens: Mapping[str, Cap], num_trials: int) -> dict[str, Cap]:
    return {kind: Cap(cap.parameters, cap.count * num_trials, cap.count) for kind, cap in tokens.items()}
