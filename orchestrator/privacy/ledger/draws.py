"""One draw: some tokens of a cap to one holder, in a transaction that holds the reservation until it is committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger import clock as ledger_clock
from orchestrator.privacy.ledger.hash_chain import link
from orchestrator.privacy.ledger.tables import caps, draws, holders, reservations
from orchestrator.privacy.ledger.terms import MAX_COUNT, Terms, entry_of


@dataclass(frozen=True)
class Ask:
    """What is asked for: `count` tokens at `price` units each."""

    name: str
    kind: str
    holder: str
    step: int | None
    count: int
    price: int
    nonce: str | None

    @property
    def units(self) -> int:
        """What it takes of the cap."""
        return self.count * self.price


def draw(connection: Connection, key: bytes, ask: Ask) -> int:
    """Write a draw and return the number of its first token; an ask with a known nonce was written already."""
    if any(type(number) is not int or not 1 <= number <= MAX_COUNT for number in (ask.count, ask.price)):
        raise ValueError(f"count and price must be positive ints; got {ask.count!r} and {ask.price!r}.")
    held = select(reservations).where(reservations.c.name == ask.name).with_for_update()
    reservation = connection.execute(held).one_or_none()
    cap = find_cap(connection, ask.name, ask.kind)  # read once the reservation is held
    if (known := _drawn_before(connection, ask)) is not None:
        return known
    assert reservation is not None
    _require_left(reservation, cap, ask)
    if cap.per_holder is not None:
        _admit_holder(connection, Terms.from_text(reservation.terms).max_holders, cap, ask)
    date = ledger_clock.dated(ledger_clock.today(), cap.last_at, f"{ask.kind!r} of {ask.name!r}")
    row = {"sequence": cap.num_draws, "first": cap.num_drawn, "num_tokens": ask.count, "price": ask.price}
    row |= {"holder": ask.holder, "step": ask.step, "nonce": ask.nonce, "drawn_at": date}
    head = link(cap.head_hash, row, key)
    connection.execute(insert(draws).values(name=ask.name, kind=ask.kind, **row, hash=head))
    counts = {"num_draws": cap.num_draws + 1, "num_drawn": cap.num_drawn + ask.units}
    this_cap = update(caps).where(caps.c.name == ask.name, caps.c.kind == ask.kind)
    connection.execute(this_cap.values(**counts, head_hash=head, last_at=date))
    return cap.num_drawn


def find_cap(connection: Connection, name: str, kind: str) -> Row[Any]:
    """Return a cap's row. ValueError if nothing is reserved under this name and kind."""
    row = connection.execute(select(caps).where(caps.c.name == name, caps.c.kind == kind)).one_or_none()
    if row is None:
        raise ValueError(f"Nothing is reserved under {name!r} for {kind!r}: reserve before drawing.")
    return row


def _drawn_before(connection: Connection, ask: Ask) -> int | None:
    if ask.nonce is None:
        return None
    this = (draws.c.name == ask.name, draws.c.kind == ask.kind, draws.c.nonce == ask.nonce)
    row = connection.execute(select(draws).where(*this)).one_or_none()
    if row is None:
        return None
    if (row.holder, row.step, row.num_tokens, row.price) != (ask.holder, ask.step, ask.count, ask.price):
        raise ValueError(f"The nonce of this draw of {ask.kind!r} was used for another one; every draw needs its own.")
    return row.first


def _require_left(reservation: Row[Any], cap: Row[Any], ask: Ask) -> None:
    left = 0 if reservation.closed else cap.cap - cap.num_moved - cap.num_drawn
    if ask.units <= left:
        return
    if reservation.closed:
        reason = f"{ask.name!r} is closed; {ask.holder!r} asked for {ask.units} more {ask.kind!r}. Start a new sweep."
    elif left == 0:
        reason = (
            f"The cap of {cap.cap} {ask.kind!r} tokens of {ask.name!r} is drawn; {ask.holder!r} asked for "
            f"{ask.units} more. The reported ε is that of the cap, so it cannot grow: start a sweep with a larger cap."
        )
    else:
        reason = (
            f"{left} of {cap.cap} {ask.kind!r} tokens of {ask.name!r} are left; {ask.holder!r} asked for {ask.units}."
        )
    raise BudgetExceeded(reason, spent=cap.num_drawn, asked=ask.units, left=left)


def _admit_holder(connection: Connection, max_holders: int | None, cap: Row[Any], ask: Ask) -> None:
    """Count what one holder draws, and how many holders there are: a trial takes one entry of a menu."""
    rows = connection.execute(select(holders).where(holders.c.name == ask.name)).all()
    mine = {row.kind: row.units for row in rows if row.holder == ask.holder}
    everyone = {row.holder for row in rows}
    spent = mine.get(ask.kind, 0)
    others = [kind for kind in sorted(mine) if entry_of(kind) != entry_of(ask.kind)]
    if max_holders is not None and others:
        taken = others[0]
        raise BudgetExceeded(
            f"{ask.holder!r} has taken {taken!r} of {ask.name!r} and cannot take {ask.kind!r} too: one entry each.",
            spent=mine[taken],
            asked=ask.units,
            left=0,
        )
    if max_holders is not None and ask.holder not in everyone and len(everyone) >= max_holders:
        raise BudgetExceeded(
            f"{ask.name!r} is reserved for {max_holders} trials, and {ask.holder!r} would be one more.",
            spent=len(everyone),
            asked=1,
            left=0,
        )
    if spent + ask.units > cap.per_holder:
        raise BudgetExceeded(
            f"{ask.holder!r} has drawn {spent} of its {cap.per_holder} {ask.kind!r} tokens of {ask.name!r} and asked "
            f"for {ask.units} more; it can have {cap.per_holder - spent}.",
            spent=spent,
            asked=ask.units,
            left=cap.per_holder - spent,
        )
    this = {"name": ask.name, "kind": ask.kind, "holder": ask.holder}
    if ask.kind in mine:
        connection.execute(update(holders).filter_by(**this).values(units=spent + ask.units))
    else:
        connection.execute(insert(holders).values(**this, units=ask.units))
