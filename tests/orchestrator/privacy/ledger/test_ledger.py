"""The ledger: never overdrawn, nothing twice, whatever runs at once or dies; and it notices tampering."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest

from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError
from orchestrator.privacy.ledger.drawer import TokenDrawer
from orchestrator.privacy.ledger.ledger import Cap, Ledger
from tests.support.ledgers import reserve

STEP = Cap({"noise": "gaussian", "noise_multiplier": 1.5, "sampling_prob": 0.016}, 5)
EVALUATION = Cap({"noise": "gaussian", "noise_multiplier": 20.0, "sampling_prob": 1.0}, 2)
CAPS = {"train_step": STEP, "evaluation": EVALUATION}

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path):
    with Ledger(f"sqlite:///{path}") as opened:
        yield opened


def sql(path, statement, *values):
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def test_tokens_are_numbered_by_name_and_kind(ledger):
    reserve(ledger, "a", CAPS)
    reserve(ledger, "b", CAPS)
    assert [ledger.draw("a", "train_step", "trial-0", step) for step in range(3)] == [0, 1, 2]
    assert ledger.draw("a", "evaluation", "trial-0") == 0
    assert ledger.draw("b", "train_step", "trial-0", 0) == 0
    assert ledger.draw("a", "train_step", "trial-1", 0) == 3
    assert ledger.drawn("a", "train_step") == 4
    assert ledger.drawn("a", "train_step", "trial-0") == 3
    assert ledger.drawn("a", "train_step", "trial-9") == 0
    assert [(r.name, r.kind, r.cap, r.drawn) for r in ledger.reservations()] == [
        ("a", "evaluation", EVALUATION, 1),
        ("a", "train_step", STEP, 4),
        ("b", "evaluation", EVALUATION, 0),
        ("b", "train_step", STEP, 1),
    ]
    ledger.verify("a")
    ledger.verify("b")


def test_an_empty_cap_refuses_and_writes_nothing(ledger, path):
    reserve(ledger, "a", CAPS)
    for step in range(5):
        ledger.draw("a", "train_step", "trial-0", step)
    before = sql(path, "SELECT * FROM draws"), sql(path, "SELECT * FROM caps")
    for _ in range(3):
        with pytest.raises(BudgetExceeded, match="The cap of 5 'train_step' tokens of 'a' is used up") as refusal:
            ledger.draw("a", "train_step", "trial-1", 0)
    assert (refusal.value.spent, refusal.value.asked, refusal.value.left) == (5, 1, 0)
    assert (sql(path, "SELECT * FROM draws"), sql(path, "SELECT * FROM caps")) == before
    assert ledger.draw("a", "evaluation", "trial-1") == 0  # the other cap is untouched
    ledger.verify("a")


def test_reserving_again_changes_nothing_and_other_caps_are_refused(ledger):
    reserve(ledger, "a", CAPS)
    ledger.draw("a", "train_step", "trial-0", 0)
    reordered = Cap(dict(reversed(list(STEP.parameters.items()))), STEP.count)
    reserve(ledger, "a", {"evaluation": EVALUATION, "train_step": reordered})
    assert ledger.drawn("a", "train_step") == 1
    others = [
        {"train_step": Cap(STEP.parameters, 6), "evaluation": EVALUATION},
        {"train_step": Cap({**STEP.parameters, "noise_multiplier": 1.4}, 5), "evaluation": EVALUATION},
        {"train_step": STEP},
        {**CAPS, "confusion": EVALUATION},
    ]
    for other in others:
        with pytest.raises(ValueError, match="already reserved with other caps"):
            reserve(ledger, "a", other)
    assert len(ledger.reservations()) == 2
    ledger.verify("a")


@pytest.mark.parametrize(
    ("caps", "message"),
    [
        ({}, "no caps"),
        ({"train_step": Cap({}, 0)}, "positive int"),
        ({"train_step": Cap({}, True)}, "positive int"),
        ({"train_step": Cap({"noise_multiplier": float("nan")}, 1)}, "not JSON compliant"),
    ],
)
def test_caps_that_are_none_are_refused(ledger, caps, message):
    with pytest.raises(ValueError, match=message):
        reserve(ledger, "a", caps)
    assert ledger.reservations() == []


def test_what_was_never_reserved_cannot_be_drawn(ledger):
    reserve(ledger, "a", {"train_step": STEP})
    for name, kind in (("b", "train_step"), ("a", "evaluation")):
        for ask in (lambda n=name, k=kind: ledger.draw(n, k, "t"), lambda n=name, k=kind: ledger.drawn(n, k)):
            with pytest.raises(ValueError, match="Nothing is reserved"):
                ask()
    with pytest.raises(ValueError, match="Nothing is reserved"):
        ledger.verify("b")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_ledger_in_memory_is_refused(url):
    with pytest.raises(ValueError, match="must survive a crash"):
        Ledger(url)


def test_the_place_is_fixed_when_opened_and_workers_do_not_start_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Ledger("sqlite:///deep/down/ledger.db") as opened:
        reserve(opened, "a", CAPS)
        drawer = TokenDrawer(opened.url, "a", "train_step", "trial-0")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        drawer.draw(0)
        assert opened.drawn("a", "train_step", "trial-0") == 1
    with pytest.raises(ValueError, match="There is no ledger at"):
        TokenDrawer(f"sqlite:///{tmp_path}/missing.db", "a", "train_step", "trial-0").draw(0)
    assert not (tmp_path / "missing.db").exists()


def test_sqlite_is_set_to_keep_what_it_commits(ledger):
    with ledger._store.writing() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]  # 2 is FULL


def test_a_drawer_is_small_picklable_and_keeps_the_url_to_itself(ledger):
    reserve(ledger, "a", CAPS)
    drawer = TokenDrawer(ledger.url, "a", "train_step", "trial-0")
    drawer.draw(0)
    packed = pickle.dumps(drawer)
    assert len(packed) < 1_000
    pickle.loads(packed).draw(1)
    assert ledger.drawn("a", "train_step", "trial-0") == 2
    assert ledger.url not in repr(drawer)


def test_a_forked_child_draws_on_a_connection_of_its_own(ledger):
    reserve(ledger, "a", CAPS)
    ledger.draw("a", "train_step", "parent", 0)
    child = multiprocessing.get_context("fork").Process(target=ledger.draw, args=("a", "train_step", "child", 0))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert ledger.draw("a", "train_step", "parent", 1) == 2
    ledger.verify("a")


def test_workers_load_no_accountant():
    loaded = "[m for m in ('scipy', 'dp_accounting') if m in sys.modules]"
    code = f"import sys, orchestrator.privacy.ledger.ledger; print({loaded})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


TAMPERING = [
    ("UPDATE draws SET step = 7 WHERE sequence = 1", "Draw 1 of 'train_step'"),
    ("UPDATE draws SET holder = 'someone' WHERE sequence = 2", "Draw 2"),
    ("UPDATE draws SET drawn_at = '2020-01-01T00:00:00+00:00' WHERE sequence = 0", "Draw 0"),
    ("UPDATE draws SET hash = hex(randomblob(32)) WHERE sequence = 2", "Draw 2"),
    ("DELETE FROM draws WHERE sequence = 1", "written as no. 1"),
    ("DELETE FROM draws WHERE sequence = 2", "found 2 draws, expected 3"),
    ("DELETE FROM draws", "found 0 draws"),
    ("UPDATE caps SET cap = 5000", "The cap 'train_step' of 'a' is not what"),
    ("UPDATE caps SET num_drawn = 2", "take 3 of 5 units, expected 2"),
    ("UPDATE caps SET parameters = '{\"noise_multiplier\":0.1}'", "The cap"),
    ("DELETE FROM draws WHERE sequence = 2; UPDATE caps SET num_drawn = 2, num_draws = 2", "does not fit"),
    (
        "UPDATE draws SET sequence = 9 WHERE sequence = 0; UPDATE draws SET sequence = 0 WHERE sequence = 1; "
        "UPDATE draws SET sequence = 1 WHERE sequence = 9",
        "Draw 0",
    ),
]


@pytest.mark.parametrize(("statements", "message"), TAMPERING, ids=[statements for statements, _ in TAMPERING])
def test_tampering_is_noticed(ledger, path, statements, message):
    reserve(ledger, "a", {"train_step": STEP})
    for step in range(3):
        ledger.draw("a", "train_step", "trial-0", step)
    ledger.verify("a")
    for statement in statements.split("; "):
        sql(path, statement)
    with pytest.raises(LedgerCorruptError, match=message):
        ledger.verify("a")


def test_a_raised_cap_is_noticed_before_the_first_draw(ledger, path):
    reserve(ledger, "a", {"train_step": STEP})
    sql(path, "UPDATE caps SET cap = 5000")
    with pytest.raises(LedgerCorruptError, match="not what its budget's entries say"):
        ledger.verify("a")


def test_a_ledger_that_was_set_back_is_noticed_by_who_remembers(tmp_path):
    url, copy = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "backup.db"
    with Ledger(url) as ledger:
        reserve(ledger, "a", CAPS)
        ledger.draw("a", "train_step", "trial-0", 0)
        sql(tmp_path / "ledger.db", f"VACUUM INTO '{copy}'")
        ledger.draw("a", "train_step", "trial-0", 1)
        ledger.require_drawn("a", "train_step", "trial-0", at_least=2)
    with Ledger(f"sqlite:///{copy}") as restored:
        restored.verify("a")  # consistent in itself
        restored.require_drawn("a", "train_step", "trial-0", at_least=1)
        with pytest.raises(LedgerCorruptError, match="set back"):
            restored.require_drawn("a", "train_step", "trial-0", at_least=2)


def _wait_for(ready, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.002)


def _draw_until_refused(drawer, log, go):
    _wait_for(go.exists)
    with open(log, "a", buffering=1) as lines:
        for step in range(10_000):
            try:
                drawer.draw(step)
            except BudgetExceeded:
                return
            lines.write(f"{step}\n")


def _start_drawers(ledger, tmp_path, trials, go):
    """Start one process for each trial; they draw once the file `go` is there."""
    processes = []
    for i in trials:
        drawer = TokenDrawer(ledger.url, "a", "train_step", f"trial-{i}")
        processes.append(spawn.Process(target=_draw_until_refused, args=(drawer, tmp_path / f"{i}.log", go)))
        processes[-1].start()
    time.sleep(0.5)  # let them load, so that they begin together
    return processes


def _logged(tmp_path, i):
    log = tmp_path / f"{i}.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_drawers_at_once_never_overdraw_and_nothing_is_drawn_twice(ledger, path, tmp_path):
    reserve(ledger, "a", {"train_step": Cap(STEP.parameters, 200)})
    processes = _start_drawers(ledger, tmp_path, range(4), tmp_path / "go")
    (tmp_path / "go").touch()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert sum(_logged(tmp_path, i) for i in range(4)) == ledger.drawn("a", "train_step") == 200
    rows = sql(path, "SELECT sequence, holder, step FROM draws ORDER BY sequence")
    assert [sequence for sequence, _, _ in rows] == list(range(200))
    assert max(Counter((holder, step) for _, holder, step in rows).values()) == 1
    for i in range(4):
        assert ledger.drawn("a", "train_step", f"trial-{i}") == _logged(tmp_path, i)
    ledger.verify("a")


def test_a_killed_drawer_stays_charged_and_the_others_go_on(ledger, tmp_path):
    reserve(ledger, "a", {"train_step": Cap(STEP.parameters, 600)})
    others = _start_drawers(ledger, tmp_path, (1, 2), tmp_path / "go")
    (victim,) = _start_drawers(ledger, tmp_path, (0,), tmp_path)
    _wait_for(lambda: _logged(tmp_path, 0) >= 5)
    (tmp_path / "go").touch()
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)  # it does nothing but draw
    for process in (victim, *others):
        process.join(90)
    assert [victim.exitcode, *(process.exitcode for process in others)] == [-signal.SIGKILL, 0, 0]
    drawn, logged = ledger.drawn("a", "train_step", "trial-0"), _logged(tmp_path, 0)
    assert 5 <= logged <= drawn <= logged + 1  # what was acknowledged is there; at most the draw in flight besides
    assert ledger.drawn("a", "train_step") == 600
    ledger.require_drawn("a", "train_step", "trial-0", at_least=logged)
    ledger.verify("a")


def _create_and_reserve(url, go):
    _wait_for(go.exists)
    with Ledger(url) as ledger:
        reserve(ledger, "a", CAPS)
        ledger.draw("a", "train_step", str(os.getpid()))


def test_processes_that_create_the_ledger_at_once_agree(path, tmp_path):
    arguments = (f"sqlite:///{path}", tmp_path / "go")
    processes = [spawn.Process(target=_create_and_reserve, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    time.sleep(0.5)
    (tmp_path / "go").touch()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    with Ledger(f"sqlite:///{path}") as ledger:
        assert ledger.drawn("a", "train_step") == 4
        ledger.verify("a")
