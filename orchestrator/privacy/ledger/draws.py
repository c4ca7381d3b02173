"""One draw: tokens of a cap go to one holder, in a transaction that locks the reservation until it is committed."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger import clock
from orchestrator.privacy.ledger.hash_chain import link
from orchestrator.privacy.ledger.tables import caps, draws, holders, reservations
from orchestrator.privacy.ledger.terms import MAX_COUNT, Terms, entry_of

# built once: SQLAlchemy takes four times as long to build a statement as to execute it
_RESERVATION = select(reservations).where(reservations.c.name == bindparam("name")).with_for_update()
_CAP = select(caps).where(caps.c.name == bindparam("name"), caps.c.kind == bindparam("kind"))
_DRAW = select(draws).where(
    draws.c.name == bindparam("name"), draws.c.kind == bindparam("kind"), draws.c.nonce == bindparam("nonce")
)
_NEW_DRAW = insert(draws)
_COUNT = update(caps).where(caps.c.name == bindparam("of_name"), caps.c.kind == bindparam("of_kind"))


@dataclass(frozen=True)
class DrawRequest:
    """A request for `count` tokens at `price` units of the cap each."""

    name: str
    kind: str
    holder: str
    step: int | None
    count: int
    price: int
    nonce: str | None

    @property
    def units(self) -> int:
        """Units of the cap that all tokens take."""
        return self.count * self.price


def draw(connection: Connection, key: bytes, request: DrawRequest) -> int:
    """Write a draw and return the number of its first token; a request whose nonce is known was written before."""
    if any(type(number) is not int or not 1 <= number <= MAX_COUNT for number in (request.count, request.price)):
        raise ValueError(f"count and price must be positive ints; got {request.count!r} and {request.price!r}.")
    reservation = connection.execute(_RESERVATION, {"name": request.name}).one_or_none()
    cap = find_cap(connection, request.name, request.kind)  # read after the reservation is locked
    if (known := _drawn_before(connection, request)) is not None:
        return known
    assert reservation is not None
    _require_left(reservation, cap, request)
    if cap.per_holder is not None:
        _admit_holder(connection, Terms.from_text(reservation.terms).max_holders, cap, request)
    date = clock.entry_date(clock.today(), cap.last_at, reservation.budget)
    row = {"sequence": cap.num_draws, "first": cap.num_drawn, "num_tokens": request.count, "price": request.price}
    row |= {"holder": request.holder, "step": request.step, "nonce": request.nonce, "drawn_at": date}
    head = link(cap.head_hash, row, key)
    connection.execute(_NEW_DRAW, {"name": request.name, "kind": request.kind, **row, "hash": head})
    counts = {"num_draws": cap.num_draws + 1, "num_drawn": cap.num_drawn + request.units}
    changed = counts | {"head_hash": head, "last_at": date}
    connection.execute(_COUNT, {"of_name": request.name, "of_kind": request.kind, **changed})
    return cap.num_drawn


def find_cap(connection: Connection, name: str, kind: str) -> Row[Any]:
    """Return a cap's row; a ValueError if nothing is reserved under this name and kind."""
    row = connection.execute(_CAP, {"name": name, "kind": kind}).one_or_none()
    if row is None:
        raise ValueError(f"Nothing is reserved under {name!r} for {kind!r}: reserve before drawing.")
    return row


def _drawn_before(connection: Connection, request: DrawRequest) -> int | None:
    if request.nonce is None:
        return None
    this = {"name": request.name, "kind": request.kind, "nonce": request.nonce}
    row = connection.execute(_DRAW, this).one_or_none()
    if row is None:
        return None
    written = (row.holder, row.step, row.num_tokens, row.price)
    if written != (request.holder, request.step, request.count, request.price):
        raise ValueError(f"Expected a new nonce for this draw of {request.kind!r}; got one that another draw has used.")
    return row.first


def _require_left(reservation: Row[Any], cap: Row[Any], request: DrawRequest) -> None:
    left = 0 if reservation.closed else cap.cap - cap.num_moved - cap.num_drawn
    if request.units <= left:
        return
    what, asked = f"{request.kind!r} tokens of {request.name!r}", f"{request.holder!r} asked for {request.units}"
    if reservation.closed:
        reason = f"{request.name!r} is closed, and {asked} {request.kind!r}. Start a new sweep."
    elif left == 0:
        reason = (
            f"The cap of {cap.cap} {what} is used up, and {asked} more. The reported ε is that of the cap, so the cap "
            "cannot grow: start a sweep with a larger one."
        )
    else:
        reason = f"{left} of {cap.cap} {what} are left; {asked}."
    raise BudgetExceeded(reason, spent=cap.num_drawn, asked=request.units, left=left)


def _admit_holder(connection: Connection, max_holders: int | None, cap: Row[Any], request: DrawRequest) -> None:
    """Count what one holder draws of a cap that is limited for each holder."""
    rows = connection.execute(select(holders).where(holders.c.name == request.name)).all()
    mine = {row.kind: row.units for row in rows if row.holder == request.holder}
    if max_holders is not None:
        _require_entry(request, mine, {row.holder for row in rows}, max_holders)
    spent = mine.get(request.kind, 0)
    left = cap.per_holder - spent
    if request.units > left:
        raise BudgetExceeded(
            f"{request.holder!r} has drawn {spent} of its {cap.per_holder} {request.kind!r} tokens of "
            f"{request.name!r} and asked for {request.units} more; {left} are left.",
            spent=spent,
            asked=request.units,
            left=left,
        )
    this = {"name": request.name, "kind": request.kind, "holder": request.holder}
    if request.kind in mine:
        connection.execute(update(holders).filter_by(**this).values(units=spent + request.units))
    else:
        connection.execute(insert(holders).values(**this, units=request.units))


def _require_entry(request: DrawRequest, mine: Mapping[str, int], everyone: Set[str], max_holders: int) -> None:
    """Refuse a trial that takes a second entry of a menu, and a trial beyond the number that was reserved."""
    others = [kind for kind in sorted(mine) if entry_of(kind) != entry_of(request.kind)]
    if others:
        raise BudgetExceeded(
            f"{request.holder!r} has taken {others[0]!r} of {request.name!r} and cannot take {request.kind!r} too: a "
            "trial takes one entry of a menu.",
            spent=mine[others[0]],
            asked=request.units,
            left=0,
        )
    if request.holder not in everyone and len(everyone) >= max_holders:
        raise BudgetExceeded(
            f"{request.name!r} is reserved for {max_holders} trials, and {request.holder!r} would be one more.",
            spent=len(everyone),
            asked=1,
            left=0,
        )
