"""Where a ledger is, as people say it: a URL, a SQLite file, or the storage folder of their runs."""

from pathlib import Path

from orchestrator.privacy.ledger.engines import sqlite_file, sqlite_url
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import DEFAULT_FOLDER, LEDGER_FILE


def open_ledger(place: str | Path | None = None, create: bool = False) -> Ledger:
    """Open the ledger at an SQLAlchemy URL, a path of a SQLite file, or a storage folder; `runs` when absent.

    Raises:
        ValueError: there is none (and `create` is False), or what is there is no ledger.
        LedgerUnreachable: the database does not answer.
    """
    from sqlalchemy.exc import DatabaseError

    url = url_of(place)
    file = sqlite_file(url)
    if file is not None and not file.exists() and not create:
        raise ValueError(
            f"There is no ledger at {file}. A sweep, a run or `dpzo budget create` makes one; --ledger names another "
            "place: an SQLAlchemy URL, a SQLite file or a storage folder."
        )
    try:
        return Ledger(url, create=create)
    except DatabaseError as error:
        raise ValueError(f"{file or 'The database'} is no ledger: {error.orig}.") from None


def url_of(place: str | Path | None) -> str:
    """Return the SQLAlchemy URL of a place; a path that is no file and has no suffix is a storage folder."""
    if place is not None and "://" in str(place):
        return str(place)
    path = DEFAULT_FOLDER if place is None else Path(place).expanduser()
    if path.is_dir() or (not path.exists() and not path.suffix):
        path /= LEDGER_FILE
    return sqlite_url(path.absolute())
