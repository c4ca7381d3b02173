"""A budget's chain of entries: how entries are appended, and how the chain is replayed into the state of the budget.

All other rows of the budget are compared with the replayed state. Costs are summed from the replayed chain, never from
rows that could have been edited.
"""

import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger import clock
from orchestrator.privacy.ledger.budget import BudgetTerms, Cost
from orchestrator.privacy.ledger.hash_chain import canonical, entry_content, link
from orchestrator.privacy.ledger.tables import budgets, caps, entries, reservations
from orchestrator.privacy.ledger.terms import Terms

CREATED, FINGERPRINTED, RESERVED, MOVED, CLOSED = "created", "fingerprinted", "reserved", "moved", "closed"
CLOCK_ACCEPTED = "clock accepted"
GENESIS = ""  # the hash before the first entry

# built once: SQLAlchemy takes four times as long to build a statement as to execute it
_BUDGET = select(budgets).where(budgets.c.name == bindparam("budget"))
_ENTRIES = select(entries).where(entries.c.budget == bindparam("budget")).order_by(entries.c.sequence)
_RESERVATIONS = select(reservations).where(reservations.c.budget == bindparam("budget"))
_CAPS = select(caps).where(caps.c.name == bindparam("name"))
_NEW_ENTRY = insert(entries)
_EXTEND = update(budgets).where(budgets.c.name == bindparam("of_budget"))


@dataclass
class ReservedEntry:
    """A reservation, replayed from its budget's entries; `moved` counts tokens given to later reservations, by kind."""

    terms: Terms
    secret_hash: str | None
    reserved_at: str
    closed: bool = False
    moved: Counter[str] = field(default_factory=Counter)

    def may_give(self, kind: str) -> bool:
        """Return whether a later reservation may take over undrawn tokens of a kind.

        A closed reservation was charged for the composition of all its tokens, so who draws a token, and when, is
        post-processing. This does not hold for a menu, which charges a holder's whole entry, nor for a search with a
        secret number of trials, where the number of undrawn tokens would reveal the secret.
        """
        plain = self.terms.max_holders is None and not self.terms.has_secret
        return self.closed and plain and self.terms.caps[kind].per_holder is None


@dataclass
class BudgetState:
    """A budget and its reservations, by name and in their order."""

    budget: BudgetTerms
    created_at: str
    reserved: dict[str, ReservedEntry] = field(default_factory=dict)

    def costs(self) -> list[Cost]:
        """Return the cost of each reservation."""
        return [reservation.terms.cost for reservation in self.reserved.values()]


def append(
    connection: Connection, budget: str, entry: str, name: str | None, content: Mapping[str, Any], day: str = ""
) -> str:
    """Append an entry to a budget's chain and return its date; the caller has locked the ledger.

    Raises:
        ClockBehind: the clock went backwards.
    """
    head = connection.execute(_BUDGET, {"budget": budget}).one()
    date = clock.entry_date(day or clock.today(), head.last_at, budget)
    row = {"sequence": head.num_entries, "entry": entry, "name": name, "content": canonical(content), "made_at": date}
    new_hash = link(head.head_hash, row)
    connection.execute(_NEW_ENTRY, {"budget": budget, **row, "hash": new_hash})
    changed = {"num_entries": head.num_entries + 1, "head_hash": new_hash, "last_at": date}
    connection.execute(_EXTEND, {"of_budget": budget, **changed})
    return date


def entries_of(connection: Connection, budget: str) -> Sequence[Row[Any]]:
    """Return a budget's entries in their order."""
    return connection.execute(_ENTRIES, {"budget": budget}).all()


def verified_state(connection: Connection, budget: Row[Any], key: bytes) -> BudgetState:
    """Return the state that a budget's chain replays to, after comparing every row of the budget with it.

    Raises:
        LedgerCorruptError: naming the first row that does not fit.
    """
    rows = entries_of(connection, budget.name)
    head = GENESIS
    for sequence, row in enumerate(rows):
        head = link(head, entry_content(row))
        if (row.sequence, row.hash) != (sequence, head):
            raise LedgerCorruptError(
                f"Entry {row.sequence} of budget {budget.name!r} is not the entry that was written as no. {sequence}."
            )
    if not rows or (len(rows), head, rows[-1].made_at) != (budget.num_entries, budget.head_hash, budget.last_at):
        raise LedgerCorruptError(
            f"Budget {budget.name!r}: found {len(rows)} entries, expected {budget.num_entries}, and the last hash "
            f"{'fits' if head == budget.head_hash else 'does not fit'}. Entries or the budget were changed."
        )
    state = _replayed(rows)
    if (budget.terms, budget.fingerprint) != (canonical(state.budget.to_json()), state.budget.fingerprint):
        raise LedgerCorruptError(f"The row of budget {budget.name!r} is not what its entries say.")
    _check_reservations(connection, budget.name, state, key)
    return state


def secret_hash(secret: str | None, name: str, key: bytes) -> str | None:
    """Return what the chain keeps of a secret: a keyed hash, so that nobody without the key can guess it."""
    return None if secret is None else hmac.digest(key, f"secret of {name}\n{secret}".encode(), "sha256").hex()


def _replayed(rows: Sequence[Row[Any]]) -> BudgetState:
    created = json.loads(rows[0].content)
    fingerprint, reserved = created["fingerprint"], {}
    for row in rows[1:]:
        content = json.loads(row.content)
        if row.entry == FINGERPRINTED:
            fingerprint = content["fingerprint"]
        elif row.entry == RESERVED:
            reserved[row.name] = ReservedEntry(Terms.from_json(content["terms"]), content["secret"], row.made_at)
        elif row.entry == MOVED:
            reserved[row.name].moved[content["kind"]] += content["count"]
        elif row.entry == CLOSED:
            reserved[row.name].closed = True
        else:
            assert row.entry == CLOCK_ACCEPTED
    return BudgetState(BudgetTerms.from_json(created["terms"], fingerprint), rows[0].made_at, reserved)


def _check_reservations(connection: Connection, budget: str, state: BudgetState, key: bytes) -> None:
    rows = connection.execute(_RESERVATIONS, {"budget": budget}).all()
    if (names := {row.name for row in rows}) != state.reserved.keys():
        odd = sorted(names ^ state.reserved.keys())[0]
        raise LedgerCorruptError(f"Reservation {odd!r} is not both a row and an entry of budget {budget!r}.")
    for row in rows:
        entry = state.reserved[row.name]
        written = (row.terms, row.closed, row.reserved_at, secret_hash(row.secret, row.name, key))
        if written != (canonical(entry.terms.to_json()), entry.closed, entry.reserved_at, entry.secret_hash):
            raise LedgerCorruptError(f"The row of reservation {row.name!r} is not what the entries of {budget!r} say.")
        _check_caps(connection, row.name, entry)


def _check_caps(connection: Connection, name: str, entry: ReservedEntry) -> None:
    rows = connection.execute(_CAPS, {"name": name}).all()
    if (kinds := {row.kind for row in rows}) != entry.terms.caps.keys():
        odd = sorted(kinds ^ entry.terms.caps.keys())[0]
        raise LedgerCorruptError(f"The cap {odd!r} of {name!r} is not both a row and an entry.")
    for row in rows:
        cap = entry.terms.caps[row.kind]
        expected = (canonical(dict(cap.parameters)), cap.count, cap.per_holder, entry.moved[row.kind])
        if (row.parameters, row.cap, row.per_holder, row.num_moved) != expected:
            raise LedgerCorruptError(f"The cap {row.kind!r} of {name!r} is not what its budget's entries say.")
