"""Ledgers for tests: a budget to spend on, short reservations, and someone who tampers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import create_engine

from orchestrator.privacy.ledger.budget import BudgetTerms, Cost
from orchestrator.privacy.ledger.ledger import Cap, Ledger

FREE = Cost(0.0, 0.0)
LAW = {"noise": "gaussian", "noise_multiplier": 1.5, "sampling_prob": 0.016}


def budget(name: str = "data", epsilon: float | None = 3.0, delta: float = 1e-5, **terms: Any) -> BudgetTerms:
    """Return a budget of 1000 examples."""
    return BudgetTerms(**{"name": name, "epsilon": epsilon, "delta": delta, "num_units": 1000} | terms)


def reserve(ledger: Ledger, name: str, caps: Mapping[str, Cap] | int, cost: Cost = FREE, **terms: Any) -> None:
    """Reserve caps, or this many train steps, on the budget `data`, which is created if it is missing."""
    on = terms.pop("budget", "data")
    if on == "data" and all(known.name != "data" for known in ledger.budgets()):
        ledger.create_budget(budget())
    caps = {"train_step": Cap(LAW, caps)} if isinstance(caps, int) else caps
    ledger.reserve(name, caps, budget=on, cost=cost, **terms)


def tamper(url: str, *statements: str) -> None:
    """Change the database by hand."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
