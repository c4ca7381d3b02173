"""Budgets in the ledger: made once, found by name or by the fingerprint of their data."""

import difflib
import json
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from orchestrator.privacy.ledger import clock
from orchestrator.privacy.ledger.budget import BudgetTerms
from orchestrator.privacy.ledger.chain import CLOCK_ACCEPTED, CREATED, FINGERPRINTED, GENESIS, append
from orchestrator.privacy.ledger.hash_chain import canonical
from orchestrator.privacy.ledger.tables import budgets, caps, meta, reservations

_LOCK = select(meta).with_for_update()
_BUDGET = select(budgets).where(budgets.c.name == bindparam("name"))


def lock_ledger(connection: Connection) -> None:
    """Let nobody else change budgets or reservations until the transaction ends; draws go on."""
    connection.execute(_LOCK).one()


def create(connection: Connection, budget: BudgetTerms) -> None:
    """Enter a budget. Idempotent; a fingerprint that was missing is added."""
    lock_ledger(connection)
    row = connection.execute(_BUDGET, {"name": budget.name}).one_or_none()
    if row is None:
        _require_free(connection, budget.name, budget.fingerprint)
        made_at, fingerprint = clock.today(), budget.fingerprint
        head = {"num_entries": 0, "head_hash": GENESIS, "last_at": made_at}
        row = {"name": budget.name, "terms": canonical(budget.to_json()), "fingerprint": fingerprint}
        connection.execute(insert(budgets).values(row | head))
        content = {"terms": budget.to_json(), "fingerprint": fingerprint}
        append(connection, budget.name, CREATED, None, content, made_at)
        return
    known, wanted = json.loads(row.terms), budget.to_json()
    differing = [f"{key} is {known[key]!r}, not {wanted[key]!r}" for key in known if known[key] != wanted[key]]
    if differing:
        raise ValueError(
            f"Budget {budget.name!r} exists already, and {'; '.join(differing)}. The terms of a budget cannot change; "
            "choose another name if this is other data."
        )
    if budget.fingerprint is not None:
        require_fingerprint(connection, budget.name, budget.fingerprint)


def find_budget(connection: Connection, name: str) -> Row[Any]:
    """Return a budget's row; a ValueError lists the known names."""
    row = connection.execute(_BUDGET, {"name": name}).one_or_none()
    if row is None:
        known = list(connection.execute(select(budgets.c.name).order_by(budgets.c.name)).scalars())
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown budget {name!r}; known: {', '.join(map(repr, known)) or 'none'}.{hint}")
    return row


def require_fingerprint(connection: Connection, name: str, fingerprint: str) -> None:
    """Bind a budget to its data set, or refuse if it belongs to another one."""
    lock_ledger(connection)
    row = find_budget(connection, name)
    if row.fingerprint == fingerprint:
        return
    if row.fingerprint is not None:
        raise ValueError(
            f"Budget {name!r} belongs to another data set (the fingerprints differ). Use the budget of this data, or "
            "create one under another name. If rows of the same people were added or removed, use the data that the "
            "budget was created for: the budget is theirs."
        )
    _require_free(connection, name, fingerprint)
    connection.execute(update(budgets).where(budgets.c.name == name).values(fingerprint=fingerprint))
    append(connection, name, FINGERPRINTED, None, {"fingerprint": fingerprint})


def accept_clock(connection: Connection, name: str) -> None:
    """Enter that dates go back to this machine's clock, because an earlier one was ahead. No ε depends on a date."""
    lock_ledger(connection)
    own = caps.c.name.in_(select(reservations.c.name).where(reservations.c.budget == name))
    last_entry = find_budget(connection, name).last_at
    dates = [last_entry, *connection.execute(select(caps.c.last_at).where(own)).scalars()]
    today, latest = clock.today(), max(dates)
    if not any(clock.is_behind(today, date) for date in dates):
        raise ValueError(
            f"This machine's clock says {today}, and the last date of budget {name!r} is {latest}: no clock was ahead, "
            "there is nothing to accept."
        )
    connection.execute(update(budgets).where(budgets.c.name == name).values(last_at=today))
    connection.execute(update(caps).where(own, caps.c.last_at > today).values(last_at=today))
    # entries are shown to others: the day of a draw would tell how long a secret search took
    append(connection, name, CLOCK_ACCEPTED, None, {"last_at": last_entry}, today)


def as_budget(row: Row[Any]) -> BudgetTerms:
    """Return the budget that a row describes."""
    return BudgetTerms.from_json(json.loads(row.terms), row.fingerprint)


def _require_free(connection: Connection, name: str, fingerprint: str | None) -> None:
    if fingerprint is None:
        return
    holder = connection.execute(select(budgets.c.name).where(budgets.c.fingerprint == fingerprint)).scalar_one_or_none()
    if holder is not None:
        raise ValueError(
            f"This data already has budget {holder!r}, and one data set has one budget. Use {holder!r} instead of "
            f"{name!r}."
        )
