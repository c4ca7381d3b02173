"""A ledger that was copied notices it; one that was moved goes on."""

import shutil
import sqlite3

import pytest

from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger.engines import sqlite_url
from orchestrator.privacy.ledger.ledger import Ledger
from tests.support.ledgers import reserve, tamper


@pytest.fixture
def file(tmp_path):
    """A ledger with one reservation, closed."""
    file = tmp_path / "runs" / "dpzo.db"
    with Ledger(sqlite_url(file)) as ledger:
        reserve(ledger, "one", 5)
    return file


def reserve_in(file, name="two"):
    with Ledger(sqlite_url(file), create=False) as ledger:
        reserve(ledger, name, 5)


def test_a_copy_is_refused_while_the_original_is_there(file, tmp_path):
    copy = shutil.copytree(file.parent, tmp_path / "elsewhere") / file.name
    for name in ("two", "one"):  # neither a new run, nor one that goes on
        with pytest.raises(LedgerCorruptError, match=rf"{copy} is a copy of {file}, which is still there"):
            reserve_in(copy, name)
    reserve_in(file)
    file.unlink()
    reserve_in(copy)


def test_a_ledger_that_was_moved_goes_on_silently(file, tmp_path, caplog):
    moved = file.parent.rename(tmp_path / "elsewhere") / file.name
    reserve_in(moved)
    Ledger(sqlite_url(file)).dispose()  # a new one where it was
    reserve_in(moved, "three")
    assert caplog.text == ""


def test_a_copy_without_its_original_warns_once(file, tmp_path, caplog):
    backup = shutil.copy(file, tmp_path / "backup.db")
    file.unlink()
    Ledger(sqlite_url(file)).dispose()  # another ledger
    reserve_in(backup)
    reserve_in(backup, "three")
    assert [f"is a copy of a file that was at {file}" in line for line in caplog.messages] == [True]


def test_a_ledger_of_an_earlier_version_remembers_its_place_from_now_on(file):
    tamper(sqlite_url(file), "DROP TABLE ledger_places")
    reserve_in(file)
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT path FROM ledger_places").fetchall() == [(str(file),)]
    database.close()
