"""Notices that a SQLite ledger was copied: two copies would each count a part of what is spent.

A ledger remembers the path and the inode of its file. A file that was moved keeps its inode; a copy has another one.
"""

import logging
import os

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text, insert, select

from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger import clock
from orchestrator.privacy.ledger.engines import sqlite_file, sqlite_url
from orchestrator.privacy.ledger.store import Store, open_store
from orchestrator.privacy.ledger.tables import metadata

LOGGER = logging.getLogger(__name__)

places = Table(
    "ledger_places",  # created when first used: ledgers of earlier versions have none
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("noticed_at", String(64), nullable=False),
)


def require_sole_copy(store: Store, key: bytes) -> None:
    """Refuse a SQLite ledger that is a copy while the original is still there; remember where it is.

    A copy whose original is not in sight (a backup that was restored, another machine) is used with a warning.

    Raises:
        LedgerCorruptError: the original is still there.
    """
    file = sqlite_file(store.url)
    if file is None:
        return
    here = (str(file.resolve()), file.stat().st_ino)
    with store.writing() as connection:
        places.create(connection, checkfirst=True)
        last = connection.execute(select(places).order_by(places.c.sequence.desc())).first()
        if last is not None and (last.path, last.inode) == here:
            return
        if last is not None and last.inode != here[1]:
            _require_no_original(last.path, here[0], key)
        connection.execute(insert(places).values(path=here[0], inode=here[1], noticed_at=clock.today()))


def _require_no_original(original: str, copy: str, key: bytes) -> None:
    if original != copy and os.path.isfile(original) and open_store(sqlite_url(original), create=False)[1] == key:
        raise LedgerCorruptError(
            f"The ledger at {copy} is a copy of {original}, which is still there: each would count a part of what is "
            "spent. Use the original; or delete it, if it holds nothing that the copy does not."
        )
    LOGGER.warning(
        "The ledger at %s is a copy of a file that was at %s. It does not count what was spent from the original "
        "afterwards: make sure that nobody uses the original.",
        copy,
        original,
    )
