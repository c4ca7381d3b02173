"""The durable count of what may be, and what was, released about data sets that several sweeps share.

A budget belongs to a data set. A sweep reserves its caps and their cost, which must fit into the budget; then one token
is drawn before each release. The ε of a sweep is that of its caps (rules/caps.py). This holds only if no cap is ever
overdrawn: not by concurrent trials, not after a crash, not by a retry. So a draw is one transaction that locks the
reservation until the commit, and it is on disk before the caller may touch data. A token that was drawn and never used
stays charged. The life of a token is described in reservations.py.

Rows are only ever added, and chained by hashes, so that a lost, edited or reordered row is found. This protects
against accidents, not against someone who rewrites the whole file. `require_drawn` finds a ledger that was set back to
an older copy, by the count of a release log; statements contain a `digest`.
"""

import json
from collections.abc import Mapping
from typing import Any, Self

from sqlalchemy import Connection, bindparam, func, select

from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger import budgets_table, check, history, sketches_table
from orchestrator.privacy.ledger import draws as token_draws
from orchestrator.privacy.ledger import reservations as reserving
from orchestrator.privacy.ledger.budget import BudgetTerms, Cost, Spent, spent_of
from orchestrator.privacy.ledger.chain import BudgetState, verified_state
from orchestrator.privacy.ledger.hash_chain import canonical
from orchestrator.privacy.ledger.history import HistoryRow
from orchestrator.privacy.ledger.place import require_sole_copy
from orchestrator.privacy.ledger.row_sketch import RowSketch
from orchestrator.privacy.ledger.store import open_store
from orchestrator.privacy.ledger.tables import budgets, caps, draws, reservations
from orchestrator.privacy.ledger.terms import Cap, Reservation, Terms, require_terms

_TERMS = select(reservations.c.terms).where(reservations.c.name == bindparam("name"))
_CAPS = select(caps, reservations).join(reservations).order_by(caps.c.name, caps.c.kind)


class Ledger:
    """Budgets, reservations and draws in one SQL database, which all processes share that spend on the data.

    Every method raises `LedgerUnreachable` if the database does not answer.

    Args:
        url: an SQLAlchemy URL: a SQLite file on a local disk (`sqlite:////folder/ledger.db`), or
            `postgresql://user@host/database` where several machines share a budget; never with a password.
        create: make the file and tables if they are missing; False refuses a missing ledger, so that a worker on the
            wrong machine cannot start counting from zero.

    Raises:
        ValueError: a database in memory, on a network file system or without a driver, a ledger of another version, or
            no ledger while `create` is False.
    """

    def __init__(self, url: str, create: bool = True) -> None:
        self._store, self._key = open_store(url, create)
        self.url = self._store.url

    def __repr__(self) -> str:
        return f"Ledger({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    def dispose(self) -> None:
        """Close this process's connections; the ledger opens new ones if it is used again."""
        self._store.close()

    def key(self) -> bytes:
        """Return this ledger's own secret, for hashes and coins that only its owner may compute. Never show it."""
        return self._key

    def create_budget(self, budget: BudgetTerms) -> None:
        """Declare a budget. Idempotent.

        Raises:
            ValueError: the name is taken with other terms, or the fingerprint belongs to another budget.
        """
        with self._store.writing() as connection:
            budgets_table.create(connection, budget)

    def budget(self, name: str) -> BudgetTerms:
        """Return a budget's terms; a ValueError if there is none of this name."""
        with self._store.reading() as connection:
            return budgets_table.as_budget(budgets_table.find_budget(connection, name))

    def budgets(self) -> list[BudgetTerms]:
        """Return all budgets, by name."""
        with self._store.reading() as connection:
            rows = connection.execute(select(budgets).order_by(budgets.c.name)).all()
        return [budgets_table.as_budget(row) for row in rows]

    def budget_of(self, fingerprint: str) -> BudgetTerms | None:
        """Return the budget of a data set, if it has one."""
        with self._store.reading() as connection:
            row = connection.execute(select(budgets).where(budgets.c.fingerprint == fingerprint)).one_or_none()
        return None if row is None else budgets_table.as_budget(row)

    def require_fingerprint(self, name: str, fingerprint: str) -> None:
        """Check that a budget belongs to this data; a budget without a fingerprint takes this one.

        Raises:
            ValueError: the budget belongs to other data, or the data to another budget.
        """
        with self._store.writing() as connection:
            budgets_table.require_fingerprint(connection, name, fingerprint)

    def accept_clock(self, budget: str) -> None:
        """Date what follows by this machine's clock, after one that was ahead; ValueError: none was ahead."""
        with self._store.writing() as connection:
            budgets_table.accept_clock(connection, budget)

    def spent(self, budget: str) -> Spent:
        """Return the sum of a budget's reservations, from its verified chain."""
        with self._store.reading() as connection:
            state = self._state(connection, budget)
        return spent_of(state.budget, state.costs())

    def add_rows(self, budget: str, rows: RowSketch) -> None:
        """Add rows to the sketch of what a budget protects. Idempotent; a ValueError if there is no such budget."""
        with self._store.writing() as connection:
            sketches_table.add_rows(connection, budget, rows)

    def overlapping(self, budget: str | None, rows: RowSketch | None = None) -> list[str]:
        """Return the other budgets whose rows overlap with `rows`, or else with those that `budget` protects."""
        with self._store.reading() as connection:
            return sketches_table.overlapping(connection, budget, rows)

    def reserve(
        self,
        name: str,
        caps: Mapping[str, Cap],
        *,
        budget: str,
        cost: Cost,
        max_holders: int | None = None,
        reused: Mapping[str, int] | None = None,
        secret: Mapping[str, Any] | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        """Reserve the caps of a sweep, by kind of release, before anything is drawn, and verify the reservation.

        Idempotent, so that a sweep can be resumed; `reused` and `secret` are those of the first call.

        Args:
            name: of the sweep.
            caps: by kind of release.
            budget: name of the budget that is charged.
            cost: of all caps without the reused tokens, certified by the caller.
            max_holders: the most trials that may draw from kinds with a `per_holder` limit; see `Terms`.
            reused: tokens to take over from closed reservations, by kind (see `leftover`); the caps count them too.
            secret: JSON to store with the reservation, such as the random number of trials of a search.
            sources: fingerprints of what is read (`Terms`); those of the first call stand.

        Raises:
            BudgetExceeded: the cost does not fit into the budget, or fewer tokens are left than `reused` says.
            ValueError: caps that cannot be counted, an unknown budget, or other terms under a name that is taken.
            LedgerCorruptError: the ledger's rows are not what was written, or it is a copy of another one.
        """
        terms = Terms(budget, dict(caps), cost, max_holders, dict(reused or {}), secret is not None, sources)
        require_terms(name, terms)
        require_sole_copy(self._store, self._key)
        with self._store.writing() as connection:
            reserving.reserve(connection, self._key, name, terms, None if secret is None else canonical(secret))
        self.verify(name)

    def terms_of(self, name: str) -> Terms | None:
        """Return the terms of a reservation; None if nothing is reserved under this name."""
        with self._store.reading() as connection:
            text = connection.execute(_TERMS, {"name": name}).scalar()
        return None if text is None else Terms.from_text(text)

    def secret_of(self, name: str) -> dict[str, Any]:
        """Return the secret that is stored with a reservation; a ValueError if there is none."""
        with self._store.reading() as connection:
            text = connection.execute(select(reservations.c.secret).where(reservations.c.name == name)).scalar()
        if text is None:
            raise ValueError(f"No secret is stored under {name!r}.")
        return json.loads(text)

    def close(self, name: str) -> None:
        """End a reservation: later draws are refused. Idempotent; a ValueError if there is none."""
        with self._store.writing() as connection:
            reserving.close(connection, name)

    def leftover(self, budget: str, parameters: Mapping[str, Any]) -> int:
        """Return how many undrawn tokens of one law a new reservation may take over from closed ones."""
        with self._store.reading() as connection:
            leftovers = reserving.leftovers(connection, self._state(connection, budget), parameters)
        return sum(number for _, _, number in leftovers)

    def draw(
        self,
        name: str,
        kind: str,
        holder: str,
        step: int | None = None,
        *,
        count: int = 1,
        price: int = 1,
        nonce: str | None = None,
    ) -> int:
        """Draw tokens for a holder and return the number of the first one, from 0 within this name and kind.

        Args:
            name: of the reservation.
            kind: of the release.
            holder: the trial that draws.
            step: the first step that the tokens are for.
            count: how many tokens; their numbers are `price` apart.
            price: units of the cap that each token takes.
            nonce: random text; a second call with it returns the same tokens, so that a draw can be retried.

        Raises:
            BudgetExceeded: too few tokens are left in the cap or for the holder, or the reservation is closed; nothing
                is written.
            ValueError: nothing is reserved under this name and kind, or (ClockBehind) the clock went backwards.

        Formal guarantees:
            When this returns, the draw is on disk. Over all processes and crashes, the units of all calls that return
            are at most the cap, and no two draws share a token.
        """
        with self._store.writing() as connection:
            request = token_draws.DrawRequest(name, kind, holder, step, count, price, nonce)
            return token_draws.draw(connection, self._key, request)

    def drawn(self, name: str, kind: str, holder: str | None = None) -> int:
        """Return how many tokens were drawn, by all holders or by one, whatever their price."""
        query = select(func.coalesce(func.sum(draws.c.num_tokens), 0)).where(draws.c.name == name, draws.c.kind == kind)
        query = query if holder is None else query.where(draws.c.holder == holder)
        with self._store.reading() as connection:
            token_draws.find_cap(connection, name, kind)
            return int(connection.execute(query).scalar_one())

    def drawn_by_holder(self, name: str) -> dict[tuple[str, str], int]:
        """Return how many tokens were drawn under a name by each kind and holder, whatever their price."""
        query = select(draws.c.kind, draws.c.holder, func.sum(draws.c.num_tokens)).where(draws.c.name == name)
        with self._store.reading() as connection:
            rows = connection.execute(query.group_by(draws.c.kind, draws.c.holder)).all()
        return {(kind, holder): int(number) for kind, holder, number in rows}

    def reservations(self) -> list[Reservation]:
        """Return every cap, sorted by name and kind."""
        with self._store.reading() as connection:
            rows = connection.execute(_CAPS).all()
        return [_as_reservation(row) for row in rows]

    def verify(self, name: str) -> None:
        """Check a reservation: its budget's chain, its terms, and every draw.

        Raises:
            LedgerCorruptError: naming the first row that does not fit.
            ValueError: nothing is reserved under this name.
        """
        with self._store.reading() as connection:
            check.check_reservation(connection, name, self._key)

    def verify_all(self) -> None:
        """Check every budget and every reservation; a LedgerCorruptError names the first row that does not fit."""
        with self._store.reading() as connection:
            check.check_all(connection, self._key)

    def require_drawn(self, name: str, kind: str, holder: str, at_least: int) -> None:
        """Refuse a ledger that counts fewer draws of a holder than the holder's own release log.

        Raises:
            LedgerCorruptError: the ledger was set back (a lost disk, a restored backup).
        """
        known = self.drawn(name, kind, holder)
        if known < at_least:
            raise LedgerCorruptError(
                f"{holder!r} has drawn {at_least} {kind!r} tokens of {name!r} by its own log, and only {known} by this "
                "ledger: the ledger was set back. Restore its newest copy; from this one, releases would go uncounted."
            )

    def digest(self) -> str:
        """Return one SHA-256, in hexadecimal, over the heads of all chains; it reveals no secret."""
        with self._store.reading() as connection:
            return history.digest_of(connection)

    def history(self, budget: str) -> list[HistoryRow]:
        """Return the lines of a budget's history, oldest first, without secrets."""
        with self._store.reading() as connection:
            return history.history_of(connection, self._state(connection, budget))

    def export(self, budget: str) -> dict[str, Any]:
        """Return all that may be released about a budget, as JSON: terms, costs, and a chain that anyone can check."""
        with self._store.reading() as connection:
            return history.export_of(connection, self._state(connection, budget))

    def _state(self, connection: Connection, budget: str) -> BudgetState:
        return verified_state(connection, budgets_table.find_budget(connection, budget), self._key)


def _as_reservation(row: Any) -> Reservation:
    cap = Cap(json.loads(row.parameters), row.cap - row.num_moved, row.per_holder)
    secret = row.secret is not None
    return Reservation(row.name, row.kind, cap, row.num_drawn, row.reserved_at, row.budget, row.closed, secret)
