"""What TensorBoard reads: one folder a trial, also over a resume, with steps and without times."""

import struct
from datetime import UTC, datetime

import pytest
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.tensorboard import FILE, TensorBoardFiles, read_events
from tests.support.inline import Killed, without_cluster

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")
DAY = "2026-03-01"
TAGS = {"score", "epsilon", "learning_rate", "smoothing", "clip_norm"}


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


def scalars(path):
    """Return (step, tag, value) of a file, in order."""
    return [
        (event.step, value.tag, value.simple_value)
        for event in read_events(path)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def sessions(path):
    """Return what the hparams plugin is told: the name of each message."""
    contents = [value.metadata.plugin_data.content for event in read_events(path) for value in event.summary.value]
    return [HParamsPluginData.FromString(content).WhichOneof("data") for content in contents if content]


def test_each_trial_has_one_folder_also_over_a_resume(settings, next_sweep):
    plan = make_plan(load_sweep(settings))
    next_sweep(kill_after=4)  # the last score of trial 1 is measured, and nobody hears of it
    with pytest.raises(Killed):
        run_sweep(plan)
    next_sweep()
    result = run_sweep(plan)
    folder = storage_of(plan.config).tensorboard_folder
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*tfevents*")) == [
        f"00{number}/{FILE}" for number in range(3)
    ]
    for row in result.trials:
        path = folder / f"{row.number:03d}" / FILE
        found = scalars(path)
        assert {tag for _, tag, _ in found} == TAGS
        assert [step for step, tag, _ in found if tag == "score"] == [2, 4]
        assert [value for _, tag, value in found if tag == "score"] == pytest.approx(row.scores)
        last = {tag: value for step, tag, value in found if step == 4}
        assert last["epsilon"] == pytest.approx(row.epsilon)
        assert last["learning_rate"] == pytest.approx(row.values["method.learning_rate"])
        assert sessions(path) == ["experiment", "session_start_info", "session_end_info"]


def test_no_event_and_no_name_tells_a_time_or_the_machine(settings, next_sweep):
    plan = make_plan(load_sweep(settings))
    run_sweep(plan)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    folder = storage_of(plan.config).tensorboard_folder
    events = [event for path in folder.rglob(FILE) for event in read_events(path)]
    assert {event.wall_time for event in events} <= {today, today - 86400.0}  # midnight may pass
    assert "time_secs" not in str(
        [
            HParamsPluginData.FromString(v.metadata.plugin_data.content)
            for e in events
            for v in e.summary.value
            if v.metadata.plugin_data.content
        ]
    )


def test_a_search_of_one_winner_writes_nothing(settings, next_sweep):
    plan = make_plan(load_sweep(settings, BEST))
    run_sweep(plan)
    assert not list(storage_of(plan.config).folder.rglob("*tfevents*"))
    assert not storage_of(plan.config).tensorboard_folder.exists()


def test_settings_follow_their_schedule(settings, tmp_path):
    plan = make_plan(load_sweep(settings, ["method.smoothing={kind: geometric, start: 1e-2, end: 1e-4}"]))
    files = TensorBoardFiles(tmp_path, plan, DAY)
    for steps in (1, 4):
        row = TrialRow(0, {"method.learning_rate": 1e-3}, steps=steps, scores=[0.5], epsilon=float("inf"))
        files.on_score(row)
    found = scalars(tmp_path / "000" / FILE)
    assert [value for _, tag, value in found if tag == "smoothing"] == pytest.approx([1e-2, 1e-4])
    assert "epsilon" not in {tag for _, tag, _ in found}


@pytest.mark.parametrize("cut", [1, 13, 40])
def test_what_a_kill_left_half_written_is_cut_off(settings, tmp_path, cut):
    files = TensorBoardFiles(tmp_path, make_plan(load_sweep(settings)), DAY)
    row = TrialRow(0, {"method.learning_rate": 1e-3}, steps=2, scores=[0.5], epsilon=1.0)
    files.on_trial_start(row)
    files.on_score(row)
    path = tmp_path / "000" / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    files.on_score(TrialRow(0, row.values, steps=4, scores=[0.5, 0.75], epsilon=1.5))
    data, place = path.read_bytes(), 0
    while place < len(data):  # every record is whole
        place += struct.unpack_from("<Q", data, place)[0] + 16
    assert place == len(data)
    assert [step for step, tag, _ in scalars(path) if tag == "score"] == [2, 4]


def test_a_full_disk_ends_no_sweep(settings, tmp_path):
    (tmp_path / "file").touch()
    files = TensorBoardFiles(tmp_path / "file", make_plan(load_sweep(settings)), DAY)
    files.on_trial_start(TrialRow(0, {"method.learning_rate": 1e-3}))
