"""Verification of a ledger: every chain, every count, and every row that must exist."""

from collections import Counter
from typing import Any

from sqlalchemy import Connection, Row, select

from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger.chain import RESERVED, verified_state
from orchestrator.privacy.ledger.hash_chain import verify_draws
from orchestrator.privacy.ledger.tables import budgets, caps, draws, entries, holders, reservations


def check_reservation(connection: Connection, name: str, key: bytes) -> None:
    """Check the chain of a reservation's budget, and all its draws."""
    rows = select(reservations.c.budget).where(reservations.c.name == name)
    chained = select(entries.c.budget).where(entries.c.name == name, entries.c.entry == RESERVED)
    names = [*connection.execute(rows).scalars(), *connection.execute(chained).scalars()]
    if not names:
        raise ValueError(f"Nothing is reserved under {name!r}.")
    budget = connection.execute(select(budgets).where(budgets.c.name == names[0])).one_or_none()
    if budget is None:
        raise LedgerCorruptError(f"The row of budget {names[0]!r}, which {name!r} draws from, is missing.")
    verified_state(connection, budget, key)
    _check_draws(connection, name, key)


def check_all(connection: Connection, key: bytes) -> None:
    """Check every budget and every reservation."""
    for budget in connection.execute(select(budgets)).all():
        verified_state(connection, budget, key)
    for name in connection.execute(select(reservations.c.name)).scalars().all():
        check_reservation(connection, name, key)


def _check_draws(connection: Connection, name: str, key: bytes) -> None:
    for cap in connection.execute(select(caps).where(caps.c.name == name).order_by(caps.c.kind)).all():
        query = select(draws).where(draws.c.name == name, draws.c.kind == cap.kind).order_by(draws.c.sequence)
        rows = connection.execute(query).all()
        verify_draws(cap, rows, key)
        if cap.per_holder is not None:
            _check_holders(connection, cap, [(row.holder, row.num_tokens * row.price) for row in rows])


def _check_holders(connection: Connection, cap: Row[Any], drawn: list[tuple[str, int]]) -> None:
    total: Counter[str] = Counter()
    for holder, units in drawn:
        total[holder] += units
    rows = connection.execute(select(holders).where(holders.c.name == cap.name, holders.c.kind == cap.kind)).all()
    if {row.holder: row.units for row in rows} != dict(total):
        raise LedgerCorruptError(f"The counts by holder of {cap.kind!r} of {cap.name!r} are not the sums of the draws.")
