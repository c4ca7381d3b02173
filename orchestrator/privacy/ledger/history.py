"""What a ledger may show to others: a budget's history, its export, and one digest of everything.

None of it holds the ledger's key, a reservation's secret, or what a search with a secret number of trials drew.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from orchestrator.privacy.ledger.budget import spent_of
from orchestrator.privacy.ledger.budgets_table import find_budget
from orchestrator.privacy.ledger.chain import CLOSED, CREATED, MOVED, RESERVED, BudgetState, entries_of
from orchestrator.privacy.ledger.hash_chain import canonical, entry_content
from orchestrator.privacy.ledger.tables import budgets, caps

FORMAT = "dpzo budget export, 1"
_CAPS = select(caps).where(caps.c.name == bindparam("name")).order_by(caps.c.kind)


@dataclass(frozen=True)
class HistoryRow:
    """One line of a budget's history.

    Args:
        made_at: day of the entry, or the date of the entry before (see `clock`); in earlier versions a time.
        entry: created, fingerprinted, reserved, moved, closed or clock accepted.
        name: of the reservation, where there is one.
        tokens: by kind: reserved, moved, or drawn before the closing; None where there are none or they are secret.
        epsilon: of the budget, or charged by the reservation; None where there is none.
    """

    made_at: str
    entry: str
    name: str | None
    tokens: Mapping[str, int] | None
    epsilon: float | None


def history_of(connection: Connection, state: BudgetState) -> list[HistoryRow]:
    """Return the lines of a budget's history, oldest first."""
    drawn = {name: drawn_of(connection, state, name) for name in state.reserved}
    rows = []
    for row in entries_of(connection, state.budget.name):
        content, tokens, epsilon = json.loads(row.content), None, None
        if row.entry == CREATED:
            epsilon = state.budget.epsilon
        elif row.entry == RESERVED:
            terms = state.reserved[row.name].terms
            tokens, epsilon = {kind: cap.count for kind, cap in terms.caps.items()}, terms.cost.epsilon
        elif row.entry == MOVED:
            tokens = {content["kind"]: content["count"]}
        elif row.entry == CLOSED:
            tokens = drawn[row.name]
        rows.append(HistoryRow(row.made_at, row.entry, row.name, tokens, epsilon))
    return rows


def export_of(connection: Connection, state: BudgetState) -> dict[str, Any]:
    """Return everything that may be released about a budget, as JSON; anyone can check the chain in it."""
    spent = asdict(spent_of(state.budget, state.costs()))
    chain = [entry_content(row) | {"hash": row.hash} for row in entries_of(connection, state.budget.name)]
    reserved = [
        {
            "name": name,
            "closed": reservation.closed,
            "reserved_at": reservation.reserved_at,
            **reservation.terms.to_json(),
            "drawn": drawn_of(connection, state, name),
        }
        for name, reservation in state.reserved.items()
    ]
    return {
        "format": FORMAT,
        "budget": state.budget.to_json() | {"fingerprint": state.budget.fingerprint},
        "created_at": state.created_at,
        "spent": spent | {"epsilon": None if spent["epsilon"] == math.inf else spent["epsilon"]},
        "reservations": reserved,
        "entries": chain,
        "head": find_budget(connection, state.budget.name).head_hash,
    }


def drawn_of(connection: Connection, state: BudgetState, name: str) -> dict[str, int] | None:
    """Return what was drawn of a reservation by kind, in the unit of its caps; None where the number is secret."""
    if state.reserved[name].terms.has_secret:
        return None
    rows = connection.execute(_CAPS, {"name": name}).all()
    return {row.kind: row.num_drawn for row in rows}


def digest_of(connection: Connection) -> str:
    """Return one SHA-256 over the heads of all chains."""
    heads = {
        "budgets": {row.name: row.head_hash for row in connection.execute(select(budgets)).all()},
        "caps": {canonical({row.name: row.kind}): row.head_hash for row in connection.execute(select(caps)).all()},
    }
    return hashlib.sha256(canonical(heads).encode()).hexdigest()
