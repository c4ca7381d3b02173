"""The ledger's database: its transactions, its key, and one clear error when it does not answer."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from orchestrator.privacy.errors import LedgerCorruptError, LedgerUnreachable
from orchestrator.privacy.ledger.engines import no_ledger, open_engine, reader_of, writer_of
from orchestrator.privacy.ledger.tables import create_tables, key_of

_CREATION_LOCK = 0x64707A6F  # key of PostgreSQL's advisory lock; any constant
_SQLITE_UNREACHABLE = {
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
        url: with an absolute path; without a password (see `engines`).
    """

    url: str
    _reader: Engine = field(repr=False)
    _writer: Engine = field(repr=False)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one snapshot. LedgerUnreachable: the database does not answer."""
        with _named_errors(self.url), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write, and return once it is on disk. LedgerUnreachable: it may or may not have been written."""
        with _named_errors(self.url), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close this process's connections; the store opens new ones if it is used again."""
        self._writer.dispose()


def open_store(url: str, create: bool) -> tuple[Store, bytes]:
    """Return the store and the ledger's key.

    Raises:
        ValueError: as for `open_engine`; a ledger of another version; or no ledger while `create` is False.
        LedgerUnreachable: the database does not answer.
    """
    engine = open_engine(url, create)
    store = Store(engine.url.render_as_string(), reader_of(engine), writer_of(engine))
    return store, _open_ledger(store, create)


def _open_ledger(store: Store, create: bool) -> bytes:
    with store.reading() as connection:
        key = key_of(connection, store.url)
    if key is None and not create:
        raise no_ledger(store.url)
    if key is None:
        with store.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
            if (key := key_of(connection, store.url)) is None:
                create_tables(connection)
                key = key_of(connection, store.url)
    assert key is not None
    return key


@contextmanager
def _named_errors(place: str) -> Iterator[None]:
    """Raise an error of this project, in one line, where the connection or the file failed and not the request."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        if is_unreachable(error):
            raise LedgerUnreachable(f"The ledger at {place} does not answer ({reason}).") from None
        if _sqlite_code(error) in _SQLITE_DAMAGED:
            raise LedgerCorruptError(
                f"The ledger at {place} cannot be read ({reason}). Restore it from a backup that is no older than the "
                "last release. Without such a backup, count every release in the release logs as spent."
            ) from None
        raise


def is_unreachable(error: DBAPIError) -> bool:
    """Return whether the connection failed, and not the request."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error) in _SQLITE_UNREACHABLE
    return error.connection_invalidated or isinstance(error, OperationalError)


def _sqlite_code(error: DBAPIError) -> int | None:
    """Return SQLite's primary error code; None for other databases, or where the driver itself refused."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
