"""Trackers log every score once, of released values alone, each in its own format."""

import csv
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest

from orchestrator import Sweep
from orchestrator.callbacks import CSV, MLflow, Released, TensorBoard, Tracker, WandB
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.tensorboard import read_events
from tests.support.inline import Killed, without_cluster

LOSSES = np.array([0.7, 0.1])  # as a step holds them


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


class Recorder(Tracker):
    """A tracker that keeps what it is told."""

    def __init__(self):
        self.heard = []

    def begin(self, facts):
        self.heard.append(("begin", facts["epsilon"]))

    def begin_trial(self, number, settings):
        self.heard.append(("trial", number, *settings))

    def log(self, number, values):
        self.heard.append((number, values["steps"]))

    def end_trial(self, number, *, failed):
        self.heard.append(("ended", number, failed))

    def end(self, result):
        self.heard.append(("end", result and result["total_epsilon"]))


def test_a_tracker_is_told_every_score_once_though_a_resumed_trial_repeats_its_own(settings, next_sweep):
    tracker, sweep = Recorder(), Sweep(settings)
    next_sweep(kill_after=4)
    with pytest.raises(Killed):
        sweep.run(tracker, progress=False)
    first, tracker.heard = tracker.heard, []
    next_sweep()
    result = sweep.run(tracker, progress=False)
    assert first[-1] == ("end", None)
    assert [entry for entry in first if entry[0] == 1] == [(1, 2)]
    assert [entry for entry in tracker.heard if entry[0] == 0] == []  # it had ended before
    assert [entry for entry in tracker.heard if entry[0] == 2] == [(2, 2), (2, 4)]
    assert tracker.heard[-1] == ("end", result.epsilon)
    assert ("trial", 2, "method.learning_rate") in tracker.heard


@pytest.mark.parametrize(
    "private",
    [0.7, LOSSES, LOSSES[0], {"loss": 0.7}, [0.7], "a private row"],
    ids=["number", "array", "element", "mapping", "list", "text"],
)
@pytest.mark.parametrize("kind", [CSV, WandB, MLflow])
def test_a_private_value_is_refused_by_every_tracker(private, kind):
    with pytest.raises(TypeError, match="only what dpzo released may be logged"):
        Released.score(private)
    with pytest.raises(TypeError, match="Released is made of"):
        Released(object(), {"loss": private})
    tracker = kind.__new__(kind)
    tracker.name, tracker.day_s, tracker._runs, tracker._facts = "test", 0.0, {0: "run"}, {}
    tracker._client = tracker._wandb = tracker._settings = MagicMock()
    tracker._id = tracker._parent = "run"
    for call in (lambda: tracker.log(0, private), lambda: tracker.begin_trial(0, private)):
        with pytest.raises(TypeError, match="a tracker logs released values alone") as refused:
            call()
        assert "0.7" not in str(refused.value)
        assert "private row" not in str(refused.value)


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (TrialRow(0, {}, scores=[LOSSES[0]]), "score: a released value is a plain number or text, got float64"),
        (TrialRow(0, {}, steps=np.int64(3)), "steps: a released value is a plain number or text, got int64"),
    ],
)
def test_a_trial_that_holds_what_a_step_computed_is_refused(trial, words):
    with pytest.raises(TypeError, match=words):
        Released.score(trial)


def test_a_setting_that_no_search_has_is_refused():
    with pytest.raises(TypeError, match="a trial's values are searched settings; 'loss' is none"):
        Released.settings(TrialRow(0, {"loss": 0.7}))
    with pytest.raises(TypeError, match=r"method\.clip_norm: a released value is a plain number or text, got ndarray"):
        Released.settings(TrialRow(0, {"method.clip_norm": LOSSES}))


def test_csv_has_a_row_a_score(settings, next_sweep, tmp_path):
    path = tmp_path / "out" / "scores.csv"
    result = Sweep(settings).run(CSV(path), progress=False)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(int(row["trial"]), int(row["steps"])) for row in rows]
    assert found == [(number, steps) for number in range(3) for steps in (2, 4)]
    assert [float(row["score"]) for row in rows] == [score for trial in result.trials for score in trial.scores]
    assert rows[0]["settings"] == f"method.learning_rate={result.trials[0].values['method.learning_rate']}"


def test_tensorboard_writes_what_the_sweep_writes(settings, next_sweep, tmp_path):
    result = Sweep(settings).run(TensorBoard(tmp_path / "boards"), progress=False)
    for number in range(3):
        own, other = (
            folder / f"{number:03d}" / "events.out.tfevents.0"
            for folder in (result.folder / "tensorboard", tmp_path / "boards" / "test")
        )
        assert own.read_bytes() == other.read_bytes()
        assert len(list(read_events(own))) > 3


def test_wandb_has_a_run_a_trial_and_nothing_of_the_machine(settings, next_sweep, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    Sweep(settings).run(WandB("notes", mode="offline", dir=str(tmp_path)), progress=False)
    runs = sorted(path.name for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert [name.partition("-test-")[2] for name in runs if "result" not in name] == ["000", "001", "002"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "wandb").rglob("*.wandb"))
    assert b"learning_rate" in written
    assert b"It was" not in written


def test_mlflow_has_a_run_a_trial_at_the_day_of_the_reservation(settings, next_sweep, tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file://{tmp_path}/mlruns"
    result = Sweep(settings).run(MLflow(uri), progress=False)
    client = tracking.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("dpzo").experiment_id])
    trials = sorted((run for run in runs if "mlflow.parentRunId" in run.data.tags), key=lambda run: run.info.run_name)
    assert [run.info.run_name for run in trials] == ["test-000", "test-001", "test-002"]
    for run, row in zip(trials, result.trials, strict=True):
        history = client.get_metric_history(run.info.run_id, "score")
        assert [(metric.step, metric.value) for metric in history] == list(zip((2, 4), row.scores, strict=True))
        times = {run.info.start_time, run.info.end_time, *(metric.timestamp for metric in history)}
        assert {time % 86_400_000 for time in times} == {0}
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.data.metrics["total_epsilon"] == result.epsilon


@pytest.mark.parametrize(("tracker", "extra"), [(lambda: WandB("notes"), "wandb"), (MLflow, "mlflow")])
def test_a_library_that_is_missing_is_named_with_the_way_to_install_it(monkeypatch, tracker, extra):
    for name in list(sys.modules):
        if name.split(".")[0] == extra:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("orchestrator.callbacks.tracker.import_module", lambda name: missing(extra))
    with pytest.raises(ModuleNotFoundError, match=rf"this tracker needs {extra}.*: pip install 'dpzo\[{extra}\]'"):
        tracker()


def missing(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
