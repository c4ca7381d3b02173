"""Verification of a ledger: every chain, every count, and every row that must exist."""

from collections import Counter
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger.chain import RESERVED, verified_state
from orchestrator.privacy.ledger.hash_chain import verify_draws
from orchestrator.privacy.ledger.tables import budgets, caps, draws, entries, holders, reservations

_BUDGET_OF = select(reservations.c.budget).where(reservations.c.name == bindparam("name"))
_CHAINED_IN = select(entries.c.budget).where(entries.c.name == bindparam("name"), entries.c.entry == RESERVED)
_BUDGET = select(budgets).where(budgets.c.name == bindparam("name"))
_CAPS = select(caps).where(caps.c.name == bindparam("name")).order_by(caps.c.kind)
_DRAWS = (
    select(draws).where(draws.c.name == bindparam("name"), draws.c.kind == bindparam("kind")).order_by(draws.c.sequence)
)
_HOLDERS = select(holders).where(holders.c.name == bindparam("name"), holders.c.kind == bindparam("kind"))


def check_reservation(connection: Connection, name: str, key: bytes) -> None:
    """Check the chain of a reservation's budget, and all its draws."""
    verified_state(connection, _budget_of(connection, name), key)
    _check_draws(connection, name, key)


def check_all(connection: Connection, key: bytes) -> None:
    """Check every budget, once, and the draws of every reservation."""
    for budget in connection.execute(select(budgets)).all():
        verified_state(connection, budget, key)
    for name in connection.execute(select(reservations.c.name)).scalars().all():
        _budget_of(connection, name)
        _check_draws(connection, name, key)


def _budget_of(connection: Connection, name: str) -> Row[Any]:
    """Return the row of the budget that a reservation draws from."""
    this = {"name": name}
    names = [*connection.execute(_BUDGET_OF, this).scalars(), *connection.execute(_CHAINED_IN, this).scalars()]
    if not names:
        raise ValueError(f"Nothing is reserved under {name!r}.")
    budget = connection.execute(_BUDGET, {"name": names[0]}).one_or_none()
    if budget is None:
        raise LedgerCorruptError(f"The row of budget {names[0]!r}, which {name!r} draws from, is missing.")
    return budget


def _check_draws(connection: Connection, name: str, key: bytes) -> None:
    for cap in connection.execute(_CAPS, {"name": name}).all():
        rows = connection.execute(_DRAWS, {"name": name, "kind": cap.kind}).all()
        verify_draws(cap, rows, key)
        if cap.per_holder is not None:
            _check_holders(connection, cap, [(row.holder, row.num_tokens * row.price) for row in rows])


def _check_holders(connection: Connection, cap: Row[Any], drawn: list[tuple[str, int]]) -> None:
    total: Counter[str] = Counter()
    for holder, units in drawn:
        total[holder] += units
    rows = connection.execute(_HOLDERS, {"name": cap.name, "kind": cap.kind}).all()
    if {row.holder: row.units for row in rows} != dict(total):
        raise LedgerCorruptError(f"The counts by holder of {cap.kind!r} of {cap.name!r} are not the sums of the draws.")
