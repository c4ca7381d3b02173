import json
import math

import pytest

from orchestrator.storage import progress as module
from orchestrator.storage.progress import WINDOW, Progress, ProgressFile, read_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""
    now = {"s": 100.0}
    monkeypatch.setattr(module.time, "monotonic", lambda: now["s"])
    return now


@pytest.fixture
def written(monkeypatch):
    """What was written, as it was written."""
    seen = []
    true_write = module.write_whole

    def write(path, text, *, durable):
        seen.append(Progress(**json.loads(text)))
        true_write(path, text, durable=durable)

    monkeypatch.setattr(module, "write_whole", write)
    return seen


def test_a_rate_is_a_mean_and_written_once_a_second(tmp_path, clock, written):
    progress = ProgressFile(tmp_path / "progress", "trial-003", 1000, 0)
    for step in range(1, 31):
        clock["s"] += 0.25
        progress(step)
    assert [one.steps for one in written] == [1, 5, 9, 13, 17, 21, 25, 29]
    assert [one.steps_per_s for one in written] == [None, *[4.0] * 7]
    assert read_progress(tmp_path / "progress") == {"trial-003": written[-1]}


def test_what_a_replay_passes_is_no_speed(tmp_path, clock, written):
    progress = ProgressFile(tmp_path, "run", 1000, 500)
    for steps in (100, 500, 502, 504):
        clock["s"] += 1.0
        progress(steps)
    assert [one.steps_per_s for one in written] == [None, None, None, 2.0]


def test_a_rate_forgets_how_it_was_long_ago(tmp_path, clock):
    progress = ProgressFile(tmp_path, "run", 10**6, 0)
    for step in range(3 * WINDOW):
        clock["s"] += 10.0 if step < WINDOW else 2.0
        progress(step)
    assert read_progress(tmp_path)["run"].steps_per_s == 0.5


def test_the_last_step_is_told_whatever_the_time(tmp_path, clock):
    progress = ProgressFile(tmp_path, "run", 3, 0)
    for step in (1, 2, 3):
        progress(step)
    assert read_progress(tmp_path)["run"].steps == 3


def test_a_full_disk_stops_no_run_here(tmp_path, clock, monkeypatch):
    def full(path, text, *, durable):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_whole", full)
    ProgressFile(tmp_path, "run", 3, 0)(1)


def test_no_progress_is_none(tmp_path):
    assert read_progress(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("change", [{"steps": "x"}, {"steps": -1}, {"steps_per_s": math.nan}, {"at": None}])
def test_a_progress_that_was_changed_is_none(tmp_path, clock, change):
    ProgressFile(tmp_path, "run", 3, 0)(1)
    content = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(content | change))
    assert read_progress(tmp_path) == {}
