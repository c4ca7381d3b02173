"""The machine below the ledger and the study: statements that change rows, commits and lost answers are operations.

SQLite itself is real. A commit that was made without `synchronous=FULL` is lost with the power.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import Pool

from orchestrator.privacy.ledger import drawer, engines, store
from orchestrator.privacy.ledger.engines import sqlite_url
from orchestrator.privacy.ledger.store import Store
from tests.simulation.machine import Machine

FULL = 2  # PRAGMA synchronous
_CHANGES = ("INSERT", "UPDATE", "DELETE")
_CHANGED = "has changed rows"  # key in the notes of a connection
_engine = cache(engines.open_engine)  # all processes share its compiled statements, and none its connections


class Database:
    """The file of the ledger on a machine.

    Args:
        file: of the ledger.
    """

    def __init__(self, machine: Machine, file: Path) -> None:
        self.machine, self.file = machine, file
        self._durable: Path | None = None  # a copy from before the first commit that the disk does not hold
        self._open: list[Any] = []  # connections

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Watch all engines while the body runs."""
        hooks = [
            (Engine, "do_execute", self._on_execute),
            (Engine, "commit", self._on_commit),
            (Pool, "connect", lambda connection, _record: self._open.append(connection)),
        ]
        for target, name, hook in hooks:
            event.listen(target, name, hook)
        writing, open_engine = Store.writing, store.open_engine

        @contextmanager
        def answered(opened: Store) -> Iterator[Connection]:
            with writing(opened) as connection:
                yield connection
            self.machine.operate("answer")
            if self.machine.is_silent:
                with _as_unreachable(opened):
                    raise _broken("the answer was lost")

        Store.writing = answered  # type: ignore[method-assign]
        store.open_engine = lambda url, create: _engine(url, True)
        try:
            yield
        finally:
            Store.writing = writing  # type: ignore[method-assign]
            store.open_engine = open_engine
            for target, name, hook in hooks:
                event.remove(target, name, hook)

    def end_process(self) -> None:
        """Close all connections, as the end of a process does."""
        drawer._shared.cache_clear()
        _engine(sqlite_url(self.file), True).dispose()
        for connection in self._open:
            connection.close()
        self._open.clear()

    def lose_power(self) -> None:
        """Lose the commits that the disk does not hold."""
        if self._durable is not None:
            self.restore(self._durable)
            self._durable = None

    def copy(self, name: str) -> Path:
        """Return a copy of the file with all that is committed; no process may be alive."""
        copied = self.file.with_name(name)
        for suffix in ("", "-wal"):
            source = self.file.with_name(self.file.name + suffix)
            copied.with_name(name + suffix).unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, copied.with_name(name + suffix))
        return copied

    def restore(self, copied: Path) -> None:
        """Put a copy back, into the file as it is; no process may be alive."""
        for suffix in ("-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
        for suffix in ("", "-wal"):
            source = copied.with_name(copied.name + suffix)
            if source.exists():
                shutil.copyfile(source, self.file.with_name(self.file.name + suffix))

    def _on_execute(self, _cursor: Any, statement: str, _parameters: Any, context: Any) -> None:
        changes = statement.startswith(_CHANGES)
        if changes:
            self.machine.operate("row")
            context.root_connection.info[_CHANGED] = True
        if self.machine.is_silent or (changes and self.machine.cannot_write):
            raise _sqlite_error("the database does not answer")

    def _on_commit(self, connection: Connection) -> None:
        if not connection.info.pop(_CHANGED, False):
            return
        self.machine.operate("commit")
        raw: Any = connection.connection.dbapi_connection
        if self._durable is None and raw.execute("PRAGMA synchronous").fetchone()[0] != FULL:
            self._durable = self.copy("durable.db")


def _sqlite_error(reason: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def _broken(reason: str) -> OperationalError:
    return OperationalError("", {}, _sqlite_error(reason))


@contextmanager
def _as_unreachable(store: Store) -> Iterator[None]:
    from orchestrator.privacy.ledger.store import _named_errors

    with _named_errors(store.url):
        yield
