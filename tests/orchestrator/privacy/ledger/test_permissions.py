"""Nobody but its owner reads a ledger, which holds a key and secrets, whatever the umask."""

import os
import stat

import pytest

from orchestrator.privacy.ledger.engines import sqlite_url
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import Storage
from tests.support.ledgers import reserve


@pytest.fixture(autouse=True)
def _usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def test_a_new_ledger_is_its_owners_alone(tmp_path, caplog):
    with Ledger(sqlite_url(tmp_path / "ledger.db")) as ledger:
        reserve(ledger, "a", 5)
        found = modes(tmp_path)
    assert found == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)
    assert caplog.text == ""


def test_a_ledger_that_was_open_to_others_is_closed_to_them_with_a_warning(tmp_path, caplog):
    file = tmp_path / "ledger.db"
    with Ledger(sqlite_url(file)) as ledger:
        reserve(ledger, "a", 5)
        for path in tmp_path.iterdir():
            path.chmod(0o664)
        Ledger(sqlite_url(file), create=False).dispose()
        assert set(modes(tmp_path).values()) == {0o600}
    assert f"{file} was open to other users" in caplog.text


def test_what_stays_with_the_operator_is_closed_to_others(tmp_path, caplog):
    storage = Storage(tmp_path, "run")
    with storage.lock():
        assert modes(storage.folder)["operator-only"] == 0o700
        (storage.operator_folder / "trials").mkdir()
        (storage.operator_folder / "trials" / "log").touch()
    assert caplog.text == ""
    storage.operator_folder.chmod(0o755)
    with storage.lock():
        found = modes(storage.folder)
    assert found == {"operator-only": 0o700, "trials": 0o700, "log": 0o600, ".lock": 0o600}
    assert f"{storage.operator_folder} was open to other users" in caplog.text
