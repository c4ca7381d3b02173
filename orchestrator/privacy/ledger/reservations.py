"""Reservations in the ledger: how they are admitted into a budget, closed, and what a later one may take over.

The life of a token: when it is *reserved*, its budget is charged in full. A holder *draws* it before data is touched.
When its reservation is *closed*, it cannot be drawn any more. A token that was never drawn caused no privacy loss, but
it was charged, together with all tokens of its law, as one composition. So it may be *moved* to a later reservation on
the same budget that draws tokens of the same law: who draws the tokens of a composition is post-processing. A token is
never turned back into ε.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, insert, select, update

from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger import clock
from orchestrator.privacy.ledger.budget import require_room
from orchestrator.privacy.ledger.budgets_table import find_budget, lock_ledger
from orchestrator.privacy.ledger.chain import CLOSED, MOVED, RESERVED, BudgetState, append, secret_hash, verified_state
from orchestrator.privacy.ledger.hash_chain import canonical, cap_genesis
from orchestrator.privacy.ledger.tables import caps, reservations
from orchestrator.privacy.ledger.terms import Cap, Terms, require_same

_RESERVATION = select(reservations).where(reservations.c.name == bindparam("name"))
_CAPS_OF_A_LAW = (
    select(caps)
    .where(caps.c.name == bindparam("name"), caps.c.parameters == bindparam("parameters"))
    .order_by(caps.c.kind)
)


def reserve(connection: Connection, key: bytes, name: str, terms: Terms, secret: str | None) -> None:
    """Admit a reservation into its budget and write it. Idempotent."""
    lock_ledger(connection)
    known = connection.execute(_RESERVATION, {"name": name}).one_or_none()
    if known is not None:
        require_same(name, Terms.from_text(known.terms), terms)
        return
    state = verified_state(connection, find_budget(connection, terms.budget), key)
    require_room(state.budget, state.costs(), terms.cost, name)
    content = {"terms": terms.to_json(), "secret": secret_hash(secret, name, key)}
    made_at = append(connection, terms.budget, RESERVED, name, content)
    row = {"budget": terms.budget, "terms": canonical(terms.to_json()), "secret": secret, "reserved_at": made_at}
    connection.execute(insert(reservations).values(name=name, closed=False, **row))
    for kind, cap in sorted(terms.caps.items()):
        _enter_cap(connection, key, name, kind, cap, made_at)
    for kind, count in sorted(terms.reused.items()):
        _move(connection, state, terms.caps[kind].parameters, count, name)


def close(connection: Connection, name: str) -> None:
    """Close a reservation. Idempotent."""
    lock_ledger(connection)
    row = connection.execute(
        _RESERVATION.with_for_update(), {"name": name}
    ).one_or_none()  # waits for a draw that has begun
    if row is None:
        raise ValueError(f"Nothing is reserved under {name!r}.")
    if row.closed:
        return
    connection.execute(update(reservations).where(reservations.c.name == name).values(closed=True))
    # the day on which a search with a secret number of trials ended would hint at that number
    day = clock.today() if row.secret is None else find_budget(connection, row.budget).last_at[:10]
    append(connection, row.budget, CLOSED, name, {}, day)


def leftovers(
    connection: Connection, state: BudgetState, parameters: Mapping[str, object]
) -> list[tuple[str, str, int]]:
    """Return (reservation, kind, undrawn tokens) of one law in closed reservations that may give them, oldest first."""
    law = canonical(dict(parameters))
    found = []
    for name, reserved in state.reserved.items():
        query = {"name": name, "parameters": law}
        for cap in connection.execute(_CAPS_OF_A_LAW, query).all() if reserved.closed else ():
            left = cap.cap - cap.num_moved - cap.num_drawn
            if left > 0 and reserved.may_give(cap.kind):
                found.append((name, cap.kind, left))
    return found


def _move(connection: Connection, state: BudgetState, parameters: Mapping[str, object], count: int, to: str) -> None:
    """Take tokens out of closed reservations; the caps of the new reservation hold them already."""
    given = leftovers(connection, state, parameters)
    left = sum(number for _, _, number in given)
    if left < count:
        raise BudgetExceeded(
            f"{to!r} would reuse {count} tokens of {dict(parameters)}, but closed reservations of "
            f"{state.budget.name!r} have {left} left. Plan again, so that the rest is charged.",
            spent=0,
            asked=count,
            left=left,
        )
    for name, kind, number in given:
        taken = min(number, count)
        count -= taken
        if taken:
            cap = update(caps).where(caps.c.name == name, caps.c.kind == kind)
            connection.execute(cap.values(num_moved=caps.c.num_moved + taken))
            append(connection, state.budget.name, MOVED, name, {"kind": kind, "count": taken, "to": to})


def _enter_cap(connection: Connection, key: bytes, name: str, kind: str, cap: Cap, made_at: str) -> None:
    parameters = canonical(dict(cap.parameters))
    head = cap_genesis(name, kind, parameters, cap.count, cap.per_holder, key)
    values = {"parameters": parameters, "cap": cap.count, "per_holder": cap.per_holder, "last_at": made_at}
    zeros = {"num_moved": 0, "num_drawn": 0, "num_draws": 0}
    connection.execute(insert(caps).values(name=name, kind=kind, **values, **zeros, head_hash=head))
