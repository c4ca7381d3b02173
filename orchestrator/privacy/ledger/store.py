"""Connections that mean it: durable commits, one writer at a time, and one clear word when the database is away.

SQLite is set to WAL (readers never wait), synchronous=FULL (a commit is on disk), and BEGIN IMMEDIATE for writers: the
write lock is taken before the first read, so that two draws cannot both see the same last token. PostgreSQL locks rows
by SELECT … FOR UPDATE before it reads what they guard (READ COMMITTED: each statement sees what was committed when it
began), and waits for the disk even where the server's own setting would not. Readers see one snapshot.
A process keeps its connection: opening one for each draw makes SQLite fold and delete its log every time, and a draw
then takes 19 ms where the fsyncs need 5. A forked child starts anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from orchestrator.privacy.errors import LedgerCorruptError, LedgerUnreachable
from orchestrator.privacy.ledger.network_disk import network_file_system
from orchestrator.privacy.ledger.tables import create_tables, key_of

_BUSY_TIMEOUT_S = 60.0
_CONNECT_TIMEOUT_S = 10
_SILENCE_MS = 60_000  # of a peer that vanished: a dead client's locks and a dead server's answers are not waited for
_CREATION_LOCK = 0x64707A6F  # any constant of our own
_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
}
_SQLITE_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True)
class Store:
    """An open database.

    Args:
        url: with an absolute path; it may hold a password.
        place: the same for people, without a password.
    """

    url: str = field(repr=False)
    place: str
    _reader: Engine = field(repr=False)
    _writer: Engine = field(repr=False)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one snapshot. LedgerUnreachable if the database does not answer."""
        with _answering(self.place), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write, and return once it is on disk. LedgerUnreachable: it may or may not have been written."""
        with _answering(self.place), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close this process's connections; new ones are opened if the store is used again."""
        self._writer.dispose()


def open_store(url: str, create: bool) -> tuple[Store, bytes]:
    """Return the store and the ledger's key.

    Raises:
        ValueError: for an unusable URL, a SQLite database in memory or on a network file system, a ledger of another
            version, or no ledger there while `create` is False.
        LedgerUnreachable: the database does not answer.
    """
    parsed = _parsed(url)
    engine = _sqlite_engine(parsed, create) if parsed.get_backend_name() == "sqlite" else _postgresql_engine(parsed)
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    store = Store(
        engine.url.render_as_string(hide_password=False),
        place_of(engine.url),
        engine.execution_options(**_options(engine, "REPEATABLE READ")),
        engine.execution_options(dpzo_writes=True, **_options(engine, "READ COMMITTED")),
    )
    return store, _open_ledger(store, create)


def place_of(url: str | URL) -> str:
    """Return a database's URL without what is secret in it."""
    parsed = make_url(url)
    shown = {name: value for name, value in parsed.query.items() if name in ("host", "port")}
    return parsed.set(query=shown).render_as_string(hide_password=True)


def _open_ledger(store: Store, create: bool) -> bytes:
    with store.reading() as connection:
        key = key_of(connection, store.place)
    if key is None and not create:
        raise ValueError(
            f"There is no ledger at {store.place}: it must be created, and caps reserved, before tokens are drawn."
        )
    if key is None:
        with store.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
            if (key := key_of(connection, store.place)) is None:
                create_tables(connection)
                key = key_of(connection, store.place)
    assert key is not None
    return key


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(
            "The ledger's URL cannot be read: write sqlite:////folder/ledger.db or postgresql://…"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise ValueError(f"A ledger lives in SQLite or PostgreSQL; got {parsed.drivername}://.")
    return parsed


def _sqlite_engine(url: URL, create: bool) -> Engine:
    """Fix the file's place now: a worker may have another working directory."""
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise ValueError(f"The ledger must survive a crash; got {url}. Name a plain file: sqlite:////folder/ledger.db")
    path = Path(url.database).absolute()
    if (kind := network_file_system(path.resolve())) is not None:
        raise ValueError(
            f"{path} lies on a network file system ({kind}), where SQLite's locks fail. Put the ledger on a local "
            "disk, or share it by PostgreSQL: postgresql://user@host/database (pip install 'dpzo[postgresql]')."
        )
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        raise ValueError(
            f"There is no ledger at {path}: it must be created, and caps reserved, before tokens are drawn."
        )
    engine = create_engine(
        url.set(database=str(path)), pool_pre_ping=True, hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT_S}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    # what the URL's own query says wins
    waits = {"connect_timeout": _CONNECT_TIMEOUT_S, "tcp_user_timeout": _SILENCE_MS}
    connect = {name: value for name, value in waits.items() if name not in url.query}
    try:
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=connect)
    except ModuleNotFoundError as missing:
        raise ValueError("A ledger in PostgreSQL needs psycopg: pip install 'dpzo[postgresql]'") from missing
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _options(engine: Engine, isolation_level: str) -> dict[str, Any]:
    return {} if engine.dialect.name == "sqlite" else {"isolation_level": isolation_level}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is sent by _begin_sqlite, not by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if _writes(connection):
        connection.exec_driver_sql(
            f"SET LOCAL synchronous_commit = on; SET LOCAL idle_in_transaction_session_timeout = {_SILENCE_MS}"
        )


def _writes(connection: Connection) -> bool:
    return connection.get_execution_options().get("dpzo_writes", False)


@contextmanager
def _answering(place: str) -> Iterator[None]:
    """Say it in one line if the connection or the file, and not the request, is what failed."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        if is_away(error):
            raise LedgerUnreachable(f"The ledger at {place} does not answer ({reason}).") from None
        if _sqlite_code(error) in _SQLITE_DAMAGED:
            raise LedgerCorruptError(
                f"The ledger at {place} cannot be read ({reason}). Restore it from a backup that is no older than the "
                "last release, or count what the release logs say as spent; nothing more is released without it."
            ) from None
        raise


def is_away(error: DBAPIError) -> bool:
    """Return whether the connection, and not the request, is what failed."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error) in _SQLITE_AWAY
    return error.connection_invalidated or isinstance(error, OperationalError)


def _sqlite_code(error: DBAPIError) -> int | None:
    """Return the primary code; None of another database, or where the driver itself refused."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
