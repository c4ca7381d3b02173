"""The durable count of what was released: caps reserved before a sweep, one token drawn before each release.

The ε of a sweep is that of its caps (composition.py), which is true only if no cap is ever overdrawn: not by trials
that run at once, not after a crash, not by a retry. So a draw is one transaction that holds the cap's row from reading
to commit, and it is on disk before the caller may touch data. A token that was drawn and never used stays charged.

Rows are only ever added, and chained by hashes whose head is kept with the cap: a lost, edited or reordered row shows.
That guards against accidents and restored backups, not against someone who rewrites the whole file; whoever keeps a
count of its own (a release log) calls `require_drawn` to notice a ledger that was set back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError
from orchestrator.privacy.hash_chain import canonical, genesis, link, verify_chain
from orchestrator.privacy.ledger_store import draws, open_store, reservations


@dataclass(frozen=True)
class Cap:
    """At most `count` releases of one law; `parameters` (JSON scalars) say which."""

    parameters: Mapping[str, str | float | int]
    count: int


@dataclass(frozen=True)
class Reservation:
    """One cap in the ledger and how much of it was drawn."""

    name: str
    kind: str
    cap: Cap
    drawn: int
    reserved_at: str


class Ledger:
    """Caps and draws in one SQL database, shared by every process that spends on a data set.

    Args:
        url: an SQLAlchemy URL. SQLite files (`sqlite:////folder/ledger.db`) must lie on a local disk.
        create: make the file and tables if they are missing; False refuses a missing file instead, so that a worker on
            the wrong machine cannot start counting from zero.

    Raises:
        ValueError: for an in-memory database, or a missing file with `create=False`.
    """

    def __init__(self, url: str, create: bool = True) -> None:
        self.url, self._read, self._write = open_store(url, create)

    def close(self) -> None:
        """Close this process's connections; the ledger opens new ones if it is used again."""
        self._write.dispose()

    def reserve(self, name: str, caps: Mapping[str, Cap]) -> None:
        """Reserve the caps of a sweep, by kind of release, before anything is drawn.

        Doing so again with the same caps changes nothing, so that a sweep can be resumed.

        Raises:
            ValueError: for no caps at all, a count that is not a positive int, parameters that are not JSON, or caps
                that differ from those already reserved under this name.
        """
        if not caps:
            raise ValueError(f"Reservation {name!r} has no caps: name at least one kind of release and its count.")
        wanted = {kind: _cap_text(kind, cap) for kind, cap in sorted(caps.items())}
        with self._write.begin() as connection:
            rows = connection.execute(select(reservations).where(reservations.c.name == name)).all()
            if rows:
                _require_same(name, {row.kind: (row.parameters, row.cap) for row in rows}, wanted)
                return
            now = _now()
            for kind, (parameters, cap) in wanted.items():
                head = genesis(name, kind, parameters, cap, now)
                values = {"name": name, "kind": kind, "parameters": parameters, "cap": cap, "reserved_at": now}
                connection.execute(insert(reservations).values(**values, num_drawn=0, head_hash=head))

    def draw(self, name: str, kind: str, holder: str, step: int | None = None) -> int:
        """Draw one token for a holder (a trial) and return its number, from 0 within this name and kind.

        Raises:
            BudgetExceeded: if the cap is empty; nothing is written.
            ValueError: if nothing is reserved under this name and kind.

        Formal guarantees:
            When this returns, the draw is on disk. Over all processes and crashes, at most `cap` calls ever return, no
            two of them the same number.
        """
        with self._write.begin() as connection:
            cap = _reserved(connection, name, kind, lock=True)
            if cap.num_drawn >= cap.cap:
                raise BudgetExceeded(
                    f"The cap of {cap.cap} {kind!r} tokens of {name!r} is drawn; {holder!r} asked for one more. "
                    "The reported ε is that of the cap, so it cannot grow: start a sweep with a larger cap.",
                    spent=cap.num_drawn,
                    asked=1,
                    left=0,
                )
            row = {"sequence": cap.num_drawn, "holder": holder, "step": step, "drawn_at": _today()}
            head = link(cap.head_hash, row)
            connection.execute(insert(draws).values(name=name, kind=kind, **row, hash=head))
            connection.execute(
                _this_cap(update(reservations), name, kind).values(num_drawn=cap.num_drawn + 1, head_hash=head)
            )
        return row["sequence"]

    def drawn(self, name: str, kind: str, holder: str | None = None) -> int:
        """Return how many tokens were drawn, by everyone or by one holder."""
        query = select(func.count()).where(draws.c.name == name, draws.c.kind == kind)
        if holder is not None:
            query = query.where(draws.c.holder == holder)
        with self._read.begin() as connection:
            _reserved(connection, name, kind, lock=False)
            return connection.execute(query).scalar_one()

    def reservations(self) -> list[Reservation]:
        """Return every cap, sorted by name and kind."""
        with self._read.begin() as connection:
            rows = connection.execute(select(reservations).order_by(reservations.c.name, reservations.c.kind)).all()
        return [
            Reservation(row.name, row.kind, Cap(json.loads(row.parameters), row.cap), row.num_drawn, row.reserved_at)
            for row in rows
        ]

    def verify(self, name: str) -> None:
        """Check every row of a reservation against its hash chain and counts.

        Raises:
            LedgerCorruptError: naming the first row that does not fit.
            ValueError: if nothing is reserved under this name.
        """
        with self._read.begin() as connection:
            caps = connection.execute(select(reservations).where(reservations.c.name == name)).all()
            if not caps:
                raise ValueError(f"Nothing is reserved under {name!r}.")
            for cap in caps:
                query = select(draws).where(draws.c.name == name, draws.c.kind == cap.kind).order_by(draws.c.sequence)
                verify_chain(cap, connection.execute(query).all())

    def require_drawn(self, name: str, kind: str, holder: str, at_least: int) -> None:
        """Refuse to go on if a holder remembers more draws than the ledger does.

        Raises:
            LedgerCorruptError: the ledger was set back (a lost disk, a restored backup).
        """
        known = self.drawn(name, kind, holder)
        if known < at_least:
            raise LedgerCorruptError(
                f"{holder!r} has drawn {at_least} {kind!r} tokens of {name!r} by its own log, {known} by the ledger at "
                "hand: this ledger was set back. Bring back the newest copy; spending on from this one would be hidden."
            )


@dataclass(frozen=True)
class TokenDrawer:
    """Draws one holder's tokens; small, picklable, and connects only when it draws, so it can travel to a worker."""

    url: str = field(repr=False)  # may hold a password
    name: str
    kind: str
    holder: str

    def draw(self, step: int) -> None:
        """Draw the token of a step; returns once it is on disk. Errors as for `Ledger.draw`."""
        _shared(self.url).draw(self.name, self.kind, self.holder, step)


@lru_cache(maxsize=8)
def _shared(url: str) -> Ledger:
    """Return this process's ledger at a URL; a process that draws hundreds of tokens connects once."""
    return Ledger(url, create=False)


def _reserved(connection: Connection, name: str, kind: str, lock: bool) -> Row[Any]:
    """Return the cap's row; `lock` holds it until the transaction ends (see ledger_store.py)."""
    query = _this_cap(select(reservations), name, kind)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise ValueError(f"Nothing is reserved under {name!r} for {kind!r}: reserve before drawing.")
    return row


def _this_cap(statement: Any, name: str, kind: str) -> Any:
    return statement.where(reservations.c.name == name, reservations.c.kind == kind)


def _cap_text(kind: str, cap: Cap) -> tuple[str, int]:
    if type(cap.count) is not int or cap.count < 1:
        raise ValueError(f"The cap of {kind!r} must be a positive int; got {cap.count!r}.")
    return canonical(dict(cap.parameters)), cap.count


def _require_same(name: str, known: dict[str, tuple[str, int]], wanted: dict[str, tuple[str, int]]) -> None:
    for kind in sorted(known.keys() | wanted.keys()):
        if known.get(kind) != wanted.get(kind):
            raise ValueError(
                f"{name!r} is already reserved with other caps: {kind!r} is {known.get(kind)} in the ledger and "
                f"{wanted.get(kind)} now. A cap is fixed before the first release; give the new sweep a new name."
            )


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _today() -> str:
    """Return the date alone: the times of steps would tell how large, and so how composed, the secret batches were."""
    return datetime.now(UTC).date().isoformat()
