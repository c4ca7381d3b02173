"""The rows that are trained on are those that were charged, whenever and wherever they are read."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.storage.paths import storage_of
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.public_tuning import PublicRows
from orchestrator.sweep.single_run import PrivateRun, run_training
from orchestrator.sweep.trial import SweepContext
from tests.support.inline import without_cluster
from trainers.run.context import Workspace
from trainers.workspace import open_workspace

CHANGED = "the file has other rows than those that this run is charged for"


@pytest.fixture
def files(settings, tmp_path):
    """Copies of the small project's files, which a test may change, by field."""
    files = {}
    for field in ("train", "validation"):
        path = files[f"data.{field}"] = tmp_path / f"{field}.jsonl"
        path.write_text(Path(settings["data"][field]).read_text())
        settings["data"][field] = str(path)
    path = files["search.tune_on"] = tmp_path / "tune_on.jsonl"
    path.write_text("".join(json.dumps({"text": f"page {n}", "label": "good"}) + "\n" for n in range(20)))
    return files


def add_row(path: Path) -> None:
    path.write_text(path.read_text() + '{"text": "food was bad", "label": "bad"}\n')


def changing(path: Path) -> Callable[..., Workspace]:
    """Return an `open_workspace` that takes so long that a file changes after it was read."""

    def slowly(config, **how):
        opened = open_workspace(config, **how)
        add_row(path)
        return opened

    return slowly


def test_rows_that_change_while_the_model_loads_are_not_charged_for_the_old_ones(settings, files, monkeypatch):
    monkeypatch.setattr("orchestrator.sweep.trial.open_workspace", changing(files["data.train"]))
    plan = make_plan(load_run({key: value for key, value in settings.items() if key != "search"}))
    storage = storage_of(plan.config)
    with pytest.raises(ValueError, match=rf"^data\.train: {CHANGED}"):
        PrivateRun(plan, storage).take()
    ledger = Ledger(storage.database_url)
    assert (ledger.budgets(), ledger.reservations()) == ([], [])


def test_rows_that_the_base_model_is_scored_on_are_those_that_are_reserved(settings, files, monkeypatch):
    without_cluster(monkeypatch, changing(files["data.validation"]))
    with pytest.raises(ValueError, match=rf"^data\.validation: {CHANGED}"):
        run_sweep(make_plan(load_sweep(settings)))


@pytest.mark.parametrize("field", ["data.train", "data.validation", "search.tune_on"])
def test_a_lane_reads_what_was_charged_and_nothing_else(settings, files, field):
    overrides = [f"search.tune_on={files[field]}"] if field == "search.tune_on" else []
    plan = make_plan(load_sweep(settings, overrides))
    storage = storage_of(plan.config)
    reserve_plan(plan, storage)
    tune_on = PublicRows.count(str(files[field]), plan.config.data) if overrides else None
    context = SweepContext(plan, storage, threads=1, tune_on=tune_on)
    rows = files[field].read_text().splitlines()
    files[field].write_text("\n".join(reversed(rows)) + "\n")
    with closing(context.workspace()) as workspace:  # the same rows in another order
        assert workspace.fingerprints.keys() == {"data.train", "data.validation"}
    add_row(files[field])
    with pytest.raises(ValueError, match=CHANGED):
        context.workspace()


def test_a_run_goes_on_with_the_rows_that_it_began_with(settings, files):
    plan = make_plan(load_sweep(settings))
    storage = storage_of(plan.config)
    ledger = reserve_plan(plan, storage).ledger
    add_row(files["data.train"])
    with pytest.raises(ValueError, match=rf"^data\.train: {CHANGED}"):
        reserve_plan(plan, storage)
    assert len(ledger.budgets()) == 1


def test_a_file_that_changes_after_the_last_step_holds_no_statement_back(settings, files, monkeypatch):
    without_cluster(monkeypatch)

    def taken(run, _):
        trained = run.take()
        add_row(files["data.train"])
        return trained

    monkeypatch.setattr("orchestrator.sweep.single_run.take_private_run", taken)
    plan = make_plan(load_run({key: value for key, value in settings.items() if key != "search"}))
    assert run_training(plan).statement.epsilon_here == plan.epsilon


def test_a_reservation_of_an_earlier_version_names_no_rows(settings):
    plan = make_plan(load_sweep(settings))
    storage = storage_of(plan.config)
    written = reserve_plan(plan, storage).ledger.terms_of(storage.name).to_json()
    assert written.pop("sources").keys() == {"data.train", "data.validation"}
    assert Terms.from_json(written).to_json() == written
