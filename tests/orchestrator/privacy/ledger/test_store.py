"""Where a ledger may live, and what is said when it cannot."""

from __future__ import annotations

import builtins
import sqlite3
import sys
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from orchestrator.privacy.errors import LedgerCorruptError, LedgerUnreachable
from orchestrator.privacy.ledger import network_disk
from orchestrator.privacy.ledger.engines import database_of
from orchestrator.privacy.ledger.ledger import Ledger
from tests.support.ledgers import LAW, budget, reserve, tamper

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:35 / /home rw,relatime shared:7 - nfs4 server:/home rw,vers=4.2
41 40 254:1 / /home/local rw,relatime - xfs /dev/vdb rw
42 22 0:36 / /mnt/my\\040share rw - cifs //server/share rw
43 22 0:37 / /over rw - ext4 /dev/vdc rw
44 43 0:38 / /over rw - fuse.sshfs user@host: rw
45 22 0:39 / /homestead rw - ext4 /dev/vdd rw
"""


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(network_disk, "MOUNTS", tmp_path / "mountinfo")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/ledger.db", None),
        ("/home/me/ledger.db", "nfs4"),
        ("/home", "nfs4"),
        ("/home/local/ledger.db", None),
        ("/mnt/my share/ledger.db", "cifs"),
        ("/over/ledger.db", "fuse.sshfs"),
        ("/homestead/ledger.db", None),
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(mounts, path, kind):
    assert network_disk.network_file_system(network_disk.Path(path)) == kind


def test_sqlite_on_a_network_disk_is_refused_with_the_way_out(mounts):
    with pytest.raises(ValueError, match=r"network file system \(nfs4\).*postgresql://user@host.*dpzo\[postgresql\]"):
        Ledger("sqlite:////home/me/ledger.db")


def test_without_a_list_of_mounts_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(network_disk, "MOUNTS", tmp_path / "missing")
    Ledger(f"sqlite:///{tmp_path}/ledger.db").dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("my password is secret", "cannot be read"),
        ("mysql://me:secret@host/ledger", "lives in SQLite or PostgreSQL; got mysql://"),
        ("postgresql+psycopg2://me:secret@host/ledger", "SQLite or PostgreSQL"),
        ("sqlite:///file:x?mode=memory&uri=true", "must survive a crash"),
    ],
)
def test_other_places_are_refused_without_repeating_a_password(url, message):
    with pytest.raises(ValueError, match=message) as refusal:
        Ledger(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_by_any_of_its_names(postgresql_url, scheme):
    with Ledger(postgresql_url.replace("postgresql", scheme, 1)) as ledger:
        assert ledger.budgets() == []


def test_a_missing_driver_is_named_with_its_installation(monkeypatch):
    true_import = builtins.__import__

    def without_psycopg(name, *args, **kwargs):
        if name.split(".")[0] == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return true_import(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.split(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_psycopg)
    with pytest.raises(ValueError, match=r"pip install 'dpzo\[postgresql\]'"):
        Ledger("postgresql://me@host/ledger")


def test_a_database_that_does_not_answer_is_said_in_one_line_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "SECRET")
    url = f"postgresql://me@/ledger?host={tmp_path}"
    with pytest.raises(LedgerUnreachable, match="does not answer") as refusal:
        Ledger(url)
    assert "SECRET" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert "\n" not in str(refusal.value)


WITH_A_PASSWORD = [
    "postgresql://me:secret@host/ledger",
    "postgresql+psycopg://me@host/ledger?password=secret",
    "postgresql://me@host/ledger?sslpassword=secret",
    "postgresql://me:a@secret@host/ledger",  # an @ that should be %40
    "postgresql://me@secret@host/ledger",
    "postgresql://me:1/secret@host/ledger",  # a / that should be %2F: 1 is taken for a port
    "postgresql://me:2secret/x@host/ledger",
]


@pytest.mark.parametrize("url", WITH_A_PASSWORD)
def test_a_password_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="holds a password, which would stand in files") as refusal:
        Ledger(url)
    assert "secret" not in str(refusal.value)


def test_a_folder_that_cannot_be_opened_is_said_in_one_line(tmp_path):
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerUnreachable, match="unable to open database file"):
        Ledger(f"sqlite:///{tmp_path}/ledger.db")


def test_a_damaged_file_is_said_in_one_line_even_by_a_ledger_that_is_open(tmp_path):
    file = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{file}") as ledger:
        reserve(ledger, "run", 10)
    ledger = Ledger(f"sqlite:///{file}", create=False)
    ledger._store.close()  # its pages are not in memory any more
    with file.open("r+b") as pages:
        pages.seek(4096)
        pages.write(b"\xff" * (file.stat().st_size - 4096))
    with pytest.raises(LedgerCorruptError, match="cannot be read") as refusal:
        ledger.draw("run", "train_step", "trial-0", 0)
    assert "\n" not in str(refusal.value)


def test_an_error_of_ours_is_not_called_silence(any_ledger):
    with pytest.raises(Exception, match="nothing_there") as error, any_ledger._store.reading() as connection:
        connection.execute(text("SELECT * FROM nothing_there"))
    assert not isinstance(error.value, LedgerUnreachable)
    if "sqlite" in any_ledger.url:
        assert isinstance(error.value, OperationalError)


def test_statements_that_fail_show_no_parameters(any_ledger):
    same = text("INSERT INTO ledger_meta VALUES (1, 2, :key, 'now')")
    with pytest.raises(IntegrityError) as error, any_ledger._store.writing() as connection:
        connection.execute(same, {"key": "PLANTED-SECRET"})
    assert "PLANTED-SECRET" not in str(error.value)


def test_a_ledger_of_version_0_1_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("CREATE TABLE reservations (name TEXT, kind TEXT, cap INTEGER)")
        connection.execute("CREATE TABLE draws (name TEXT, kind TEXT, sequence INTEGER)")
    connection.close()
    for create in (True, False):
        with pytest.raises(
            ValueError, match=r"is of version 0\.1 of dpzo, which knew no budgets\. .* start a new ledger"
        ):
            Ledger(f"sqlite:///{tmp_path}/old.db", create)


def test_a_ledger_of_a_later_version_is_refused(any_ledger):
    tamper(any_ledger.url, "UPDATE ledger_meta SET schema_version = 3")
    with pytest.raises(ValueError, match="is of version schema 3; this dpzo reads schema 2"):
        Ledger(any_ledger.url)


def test_a_database_without_a_ledger_is_not_one(ledger_url, tmp_path):
    tamper(ledger_url, "CREATE TABLE studies (id INTEGER)")  # the search's own tables
    with pytest.raises(ValueError, match="There is no ledger at"):
        Ledger(ledger_url, create=False)
    with Ledger(ledger_url) as ledger:
        ledger.create_budget(budget())
    with Ledger(ledger_url, create=False) as ledger:
        assert ledger.budgets() == [budget()]


def test_postgresql_waits_for_the_disk_and_not_for_the_dead(postgresql_server, postgresql_url):
    database = postgresql_url.split("/")[3].split("?")[0]
    postgresql_server.execute(
        postgresql_url,
        f"ALTER DATABASE {database} SET synchronous_commit = off",
        f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'",
    )
    names = ("synchronous_commit", "idle_in_transaction_session_timeout", "transaction_isolation")
    with Ledger(postgresql_url) as ledger:
        with ledger._store.writing() as connection:
            writing = [connection.execute(text(f"SHOW {name}")).scalar() for name in names]
        with ledger._store.reading() as connection:
            reading = connection.execute(text("SHOW transaction_isolation")).scalar()
    assert writing == ["on", "1min", "read committed"]
    assert reading == "repeatable read"


def test_sqlite_is_set_to_keep_what_it_commits(tmp_path):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger, ledger._store.writing() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]  # 2 is FULL


def test_a_reader_sees_one_snapshot_while_others_draw(any_ledger):
    reserve(any_ledger, "a", 5)
    with any_ledger._store.reading() as connection:
        before = connection.execute(text("SELECT count(*) FROM draws")).scalar()
        any_ledger.draw("a", "train_step", "t0")
        assert connection.execute(text("SELECT num_drawn FROM caps")).scalar() == before == 0
    assert any_ledger.reservations()[0].cap.parameters == LAW


def test_a_new_file_that_another_process_is_making_is_waited_for(tmp_path):
    """SQLite answers BUSY at once, whatever the timeout, when a file is switched to WAL while another one writes."""
    other = sqlite3.connect(tmp_path / "new.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, other.execute, ("COMMIT",)).start()
    assert Ledger(f"sqlite:///{tmp_path}/new.db").budgets() == []
    other.close()


def test_a_servers_database_is_the_same_with_other_settings_of_the_connection():
    same = {
        database_of(f"postgresql{end}")
        for end in ("://host/name", "+psycopg://ann@host/name?sslmode=require", "://bob@host/name?connect_timeout=5")
    }
    assert len(same) == 1
    others = {database_of(f"postgresql://host/name?{query}") for query in ("host=/run/a", "port=1", "options=-cx=y")}
    assert len(others | same) == 4
