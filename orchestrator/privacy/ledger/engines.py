"""SQLAlchemy engines for the ledger: durable commits, one writer at a time, readers that see one snapshot.

SQLite runs with WAL (readers never wait), synchronous=FULL (a commit is on disk), and BEGIN IMMEDIATE for writers: the
write lock is taken before the first read, so that two draws cannot both see the same last token. PostgreSQL locks rows
by SELECT … FOR UPDATE before it reads what the rows guard (READ COMMITTED: a statement sees what was committed before
it began), and a commit waits for the disk whatever the server's setting.

A process keeps its connection: with a new connection for each draw, SQLite merges and deletes its log every time, and a
draw takes 19 ms where the fsyncs need 5. A forked child opens its own.
"""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.privacy.ledger.network_disk import network_file_system
from orchestrator.privacy.ledger.permissions import keep_to_owner

_BUSY_TIMEOUT_S = 60.0
_CONNECT_TIMEOUT_S = 10
_PLACE = ("host", "hostaddr", "port", "dbname", "service", "options")  # of a connection: which database, and schema
_SILENCE_MS = 60_000  # a client that is silent for so long loses its locks; a server, its pending request


def open_engine(url: str, create: bool) -> Engine:
    """Return the engine of a ledger's URL; `reader_of` and `writer_of` make it fit for transactions.

    Raises:
        ValueError: a URL that is no ledger's, a SQLite database in memory or on a network file system, no driver for
            PostgreSQL, or no file while `create` is False.
    """
    parsed = _parsed(url)
    engine = _sqlite_engine(parsed, create) if parsed.get_backend_name() == "sqlite" else _postgresql_engine(parsed)
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


def sqlite_url(file: str | Path) -> str:
    """Return the URL of a SQLite file, with whatever its path contains (?, %, #) quoted."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def sqlite_file(url: str) -> Path | None:
    """Return the file of a ledger's URL; None for a ledger on a server."""
    parsed = _parsed(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def database_of(url: str) -> str:
    """Return one text for one database: a file without links on its way, or a server's without user and settings."""
    file, parsed = sqlite_file(url), _parsed(url)
    if file is not None:
        return str(file.resolve())
    place = {name: value for name, value in parsed.query.items() if name in _PLACE}
    return URL.create(
        parsed.drivername, host=parsed.host, port=parsed.port, database=parsed.database, query=place
    ).render_as_string()


def reader_of(engine: Engine) -> Engine:
    """Return the engine for transactions that read one snapshot."""
    return engine.execution_options(**_isolation(engine, "REPEATABLE READ"))


def writer_of(engine: Engine) -> Engine:
    """Return the engine for transactions that write."""
    return engine.execution_options(dpzo_writes=True, **_isolation(engine, "READ COMMITTED"))


def no_ledger(place: object) -> ValueError:
    """Return the error for a place without a ledger."""
    return ValueError(f"There is no ledger at {place}: create it, and reserve caps, before tokens are drawn.")


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a ValueError repeats what it takes for a port
        raise ValueError(
            "The ledger's URL cannot be read: write sqlite:////folder/ledger.db or postgresql://user@host:port/database"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise ValueError(f"A ledger lives in SQLite or PostgreSQL; got {parsed.drivername}://.")
    if parsed.get_backend_name() != "sqlite":
        _require_no_password(url, parsed)
    return parsed


def _require_no_password(url: str, parsed: URL) -> None:
    """Refuse a URL that holds a password, or an unescaped @ by which a part of one is taken for something else."""
    named = any("password" in key.lower() for key in parsed.query)
    if named or parsed.password is not None or url.count("@") != (parsed.username is not None):
        raise ValueError(
            "The ledger's URL holds a password, which would stand in files and in the list of processes (or an @ that "
            "is not written %40). Write postgresql://user@host/database, and put the password into PGPASSWORD, into "
            "~/.pgpass, or into a file that PGPASSFILE names."
        )


def _sqlite_engine(url: URL, create: bool) -> Engine:
    """Return the engine of a SQLite file at an absolute path: a worker may have another working directory."""
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
        with suppress(OSError):  # SQLite says more about a place that cannot be written
            path.touch(mode=0o600)
    elif not path.is_file():
        raise no_ledger(path)
    keep_to_owner(*(path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")))
    engine = create_engine(
        url.set(database=str(path)), pool_pre_ping=True, hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT_S}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    waits = {"connect_timeout": _CONNECT_TIMEOUT_S, "tcp_user_timeout": _SILENCE_MS}
    connect = {name: value for name, value in waits.items() if name not in url.query}
    try:
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=connect)
    except ModuleNotFoundError as missing:
        raise ValueError("A ledger in PostgreSQL needs psycopg: pip install 'dpzo[postgresql]'") from missing
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _isolation(engine: Engine, level: str) -> dict[str, Any]:
    return {} if engine.dialect.name == "sqlite" else {"isolation_level": level}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is sent by _begin_sqlite, not by the driver
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Switch a new file to WAL: SQLite answers BUSY at once, without its timeout, while another process does so."""
    end = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if _writes(connection):
        connection.exec_driver_sql(
            f"SET LOCAL synchronous_commit = on; SET LOCAL idle_in_transaction_session_timeout = {_SILENCE_MS}"
        )


def _writes(connection: Connection) -> bool:
    return connection.get_execution_options().get("dpzo_writes", False)
