"""The ledger's two tables, and a connection that means it: durable commits, one writer at a time.

SQLite is set to WAL (readers never wait), synchronous=FULL (a commit is on disk), and BEGIN IMMEDIATE for writers: the
write lock is taken before the first read, so that two draws cannot both see the same last token. Other databases lock
the cap's row by SELECT … FOR UPDATE instead. A process keeps its connection: opening one for each draw makes SQLite
fold and delete its log every time, and a draw then takes 19 ms where the fsyncs need 5. A forked child starts anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    make_url,
)

_BUSY_TIMEOUT_S = 60.0

_metadata = MetaData()

reservations = Table(
    "reservations",
    _metadata,
    Column("name", String(255), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("parameters", Text, nullable=False),  # canonical JSON
    Column("cap", Integer, nullable=False),
    Column("reserved_at", String(64), nullable=False),
    Column("num_drawn", Integer, nullable=False),
    Column("head_hash", String(64), nullable=False),  # of the last draw, or of the reservation itself
)

draws = Table(
    "draws",
    _metadata,
    Column("name", String(255), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("step", Integer),
    Column("drawn_at", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    ForeignKeyConstraint(["name", "kind"], ["reservations.name", "reservations.kind"]),
)


def open_store(url: str, create: bool) -> tuple[str, Engine, Engine]:
    """Return the URL with an absolute path, an engine for reading and one for writing.

    Raises:
        ValueError: for an in-memory SQLite database, or a missing file where `create` is False.
    """
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        parsed = _absolute(parsed, create)
    options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_TIMEOUT_S}} if is_sqlite else {}
    engine = create_engine(parsed, pool_pre_ping=True, **options)
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    writer = engine.execution_options(dpzo_writes=True)
    if is_sqlite:
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    if create:
        with writer.begin() as connection:
            _metadata.create_all(connection)
    return parsed.render_as_string(hide_password=False), engine, writer


def _absolute(url: URL, create: bool) -> URL:
    """Fix the file's place now: a worker may have another working directory."""
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise ValueError(f"The ledger must survive a crash; got {url}. Name a plain file: sqlite:////folder/ledger.db")
    path = Path(url.database).absolute()
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        raise ValueError(
            f"There is no ledger at {path}: it must be created, and caps reserved, before tokens are drawn."
        )
    return url.set(database=str(path))


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is sent by _begin, not by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("dpzo_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
