"""Release logs in the ledger's database (`performance.log: database`): each line is there before it is used.

A machine and its disk may go; another one finds the lines here, and makes the file from them.
"""

import secrets
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text, inspect, select, text
from sqlalchemy.exc import IntegrityError

from orchestrator.privacy.ledger.drawer import retry_while_unreachable
from orchestrator.privacy.ledger.store import Store, open_store
from orchestrator.storage.files import write_whole
from orchestrator.storage.paths import Storage
from trainers.mechanism.release_log import LOG_NAME, LogInUseError

_CREATION_LOCK = 0x6C6F67  # key of PostgreSQL's advisory lock; any constant
_metadata = MetaData()
_lines = Table(
    "release_log_lines",
    _metadata,
    Column("name", String(255), primary_key=True),  # of the run or sweep
    Column("file", String(255), primary_key=True),  # relative to its folder
    Column("number", BigInteger, primary_key=True),
    Column("line", Text, nullable=False),
    Column("writer", String(32), nullable=False),  # random, of one opening of the log
)


@dataclass(frozen=True)
class DatabaseLog:
    """The lines of one release log in the ledger's database.

    A log has one writer. Of two that write the same line the second is refused, even where the lines are equal: an
    answer that was lost is told from another process by the random name of the writer.
    """

    url: str
    name: str
    file: str
    patience_s: float
    _writer: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def lines(self) -> list[bytes]:
        """Return all lines. LedgerUnreachable: the database did not answer for `patience_s`."""
        return retry_while_unreachable(self._read, self.patience_s)

    def append(self, number: int, line: bytes) -> None:
        """Make a line durable.

        Raises:
            LogInUseError: another process has written a line of that number.
            LedgerUnreachable: the database did not answer for `patience_s`.
        """
        retry_while_unreachable(partial(self._write, number, line.decode()), self.patience_s)

    def _read(self) -> list[bytes]:
        own = _lines.c.name == self.name, _lines.c.file == self.file
        with _store(self.url).reading() as connection:
            rows = connection.execute(select(_lines.c.line).where(*own).order_by(_lines.c.number)).scalars()
            return [line.encode() for line in rows]

    def _write(self, number: int, line: str) -> None:
        place = {"name": self.name, "file": self.file, "number": number}
        there = select(_lines.c.line, _lines.c.writer).filter_by(**place)
        try:
            with _store(self.url).writing() as connection:
                found = connection.execute(there).one_or_none()
                if found is None:
                    connection.execute(_lines.insert().values(**place, line=line, writer=self._writer))
        except IntegrityError:  # at the same moment
            found = ("", "")
        if found is not None and tuple(found) != (line, self._writer):
            raise LogInUseError(
                f"{self.file} of {self.name!r} is being written by another process; one run has one writer. Wait for "
                "it or end it, then `dpzo resume`."
            )


def log_copy(storage: Storage, folder: Path) -> DatabaseLog | None:
    """Return what copies the release log in a folder of a run, where its storage wants a copy."""
    if not storage.copies_logs:
        return None
    file = str((folder / LOG_NAME).relative_to(storage.folder))
    return DatabaseLog(storage.database_url, storage.name, file, storage.patience_s)


def fetch_logs(storage: Storage) -> None:
    """Write the files of all release logs of a run that the database has, for those who read them."""
    if not storage.copies_logs:
        return

    def files() -> list[str]:
        with _store(storage.database_url).reading() as connection:
            return list(connection.execute(select(_lines.c.file).filter_by(name=storage.name).distinct()).scalars())

    for file in retry_while_unreachable(files, storage.patience_s):
        lines = DatabaseLog(storage.database_url, storage.name, file, storage.patience_s).lines()
        path, content = storage.folder / file, b"".join(line + b"\n" for line in lines)
        if not path.is_file() or path.read_bytes() != content:
            write_whole(path, content.decode())


@lru_cache(maxsize=8)
def _store(url: str) -> Store:
    """Return this process's connections to a ledger, in which the table of lines exists."""
    store, _ = open_store(url, create=False)
    with store.reading() as connection:
        exists = inspect(connection).has_table(_lines.name)
    if not exists:
        with store.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATION_LOCK})
            _metadata.create_all(connection)
    return store
