"""Statements made without a ledger file."""

from __future__ import annotations

from typing import Any

from orchestrator.privacy.ledger.budget import BudgetTerms, Cost, spent_of
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.statement.facts import StatementFacts, make_statement
from orchestrator.privacy.statement.statement import PrivacyStatement

DIGEST = "0" * 64


def stated(
    rule: CostRule | None, delta: float = 1e-5, *, others: tuple[Cost, ...] = (), **changes: Any
) -> PrivacyStatement:
    """Return the statement of a rule on a budget that also holds `others`."""
    adjacency = changes.pop("adjacency", "add-or-remove-one")
    budget = changes.pop(
        "budget", BudgetTerms(name="reviews", epsilon=None, delta=0.0, num_units=1000, adjacency=adjacency)
    )
    own = Cost(rule.epsilon(delta, adjacency), delta) if rule else Cost(float("inf"), 0.0)
    given: dict[str, Any] = {
        "budget": budget,
        "delta": delta,
        "spent": spent_of(budget, [*others, own]),
        "num_reservations": 1 + len(others),
        "tokens_drawn": {},
        "ledger_digest": DIGEST,
        "search": "none: one run",
    }
    return make_statement(rule, StatementFacts(**(given | changes)))
