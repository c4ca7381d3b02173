"""What `dpzo status` tells of a sweep that runs, was killed or is finished; `dpzo resume`, which goes on with it."""

import dataclasses
import json
import math

import pytest
from typer.testing import CliRunner

from orchestrator.api.views.status import overview, status_view
from orchestrator.cli.app import app
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.privacy.rules.repetitions import Repetitions
from orchestrator.storage.existing import config_to_resume, find_existing
from orchestrator.storage.paths import storage_of
from orchestrator.storage.progress import Progress
from orchestrator.storage.results import write_config
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.single_run import run_training
from orchestrator.sweep.spending import _epsilon_here
from orchestrator.sweep.status import status_of
from tests.orchestrator.terminal import shown
from tests.support.inline import Killed, without_cluster
from trainers.run.base_run import BaseRun

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")


@pytest.fixture
def next_sweep(monkeypatch):
    monkeypatch.setattr("orchestrator.storage.progress.PERIOD_S", 0.0)  # every step is told of
    return without_cluster(monkeypatch)


@pytest.fixture
def killed(settings, next_sweep):
    """Leave a sweep behind whose driver died after so many results (of two a trial), and return it."""

    def leave(*overrides, after=3):
        plan = make_plan(load_sweep(settings, overrides))
        next_sweep(kill_after=after)
        with pytest.raises(Killed):
            run_sweep(plan)
        next_sweep()
        return find_existing(storage_of(plan.config).folder)

    return leave


def text_of(existing) -> str:
    return shown(status_view(status_of(existing), existing.config))


def test_a_killed_sweep_tells_how_far_it_came(killed):
    existing = killed()
    status = status_of(existing)
    assert (status.kind, status.state, status.num_trials, status.num_steps) == ("sweep", "interrupted", 3, 12)
    assert [(row.number, row.state, row.steps) for row in status.trials] == [(0, "complete", 4), (1, "interrupted", 2)]
    assert (status.lanes, status.steps_per_s, status.seconds_left) == ([], None, None)
    assert status.steps == 6
    plan = make_plan(existing.config)
    assert status.spending.reserved == plan.epsilon
    assert status.spending.tokens_drawn == {TRAIN_STEP: (6, 12)}
    six = plan.caps.changed(num_trials=1, steps_per_trial=6).caps()
    assert status.spending.drawn == six.epsilon(1e-5) < plan.epsilon
    assert f"dpzoresume{existing.storage.folder}" in "".join(text_of(existing).split())  # it is folded


def test_a_running_sweep_tells_its_lanes_and_the_time_left(killed):
    existing = killed()
    progress = Progress("trial-001", 3, 4, 0.5, 0.0, "node-1", 12)
    with existing.storage.lock():
        (existing.storage.progress_folder / "trial-001.json").write_text(json.dumps(dataclasses.asdict(progress)))
        status = status_of(existing)
        text = text_of(existing)
    assert (status.state, status.lanes, status.steps_per_s) == ("running", [progress], 0.5)
    assert [(row.state, row.steps) for row in status.trials] == [("complete", 4), ("running", 3)]
    assert (status.steps, status.seconds_left) == (7, 10.0)
    assert "1 complete, 1 running, 1 to come" in text
    assert "node-1, process 12" in text
    assert "about 10 s left" in text
    assert max(map(len, text.splitlines())) <= 80


def test_lanes_of_a_dead_process_are_not_those_of_its_successor(killed):
    existing = killed()
    progress = Progress("trial-001", 3, 4, 0.5, 0.0, "node-1", 12)
    (existing.storage.progress_folder / "trial-001.json").write_text(json.dumps(dataclasses.asdict(progress)))
    with existing.storage.lock():
        existing.storage.clear_progress()
        assert status_of(existing).lanes == []


def test_a_sweep_that_took_over_tokens_shows_the_numbers_of_its_statement(settings, next_sweep):
    first = make_plan(load_sweep(settings, ["privacy.spare_steps=6", "name=first"]))
    run_sweep(first)
    config = load_sweep(settings, ["name=second"])
    next_sweep()
    with pytest.MonkeyPatch.context() as patched:  # before the statement, only what is charged is known
        patched.setattr("orchestrator.sweep.driver.run_statement", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_sweep(make_plan(config))
    existing = find_existing(storage_of(config).folder)
    assert status_of(existing).spending.here is None
    next_sweep()
    statement = run_sweep(make_plan(config)).statement
    spending = status_of(existing).spending
    assert (spending.total, spending.here) == (statement.epsilon_total, statement.epsilon_here)
    assert spending.reserved < spending.here
    assert "was taken from the budget" in " ".join(text_of(existing).split())


def test_a_finished_sweep_says_so(settings, next_sweep):
    plan = make_plan(load_sweep(settings))
    run_sweep(plan)
    existing = find_existing(storage_of(plan.config).folder)
    status = status_of(existing)
    assert status.state == "finished"
    assert {row.state for row in status.trials} == {"complete"}
    assert (status.steps, status.num_steps) == (12, 12)
    assert "finished" in text_of(existing)


@pytest.mark.parametrize("finished", [False, True])
def test_of_one_winner_nothing_is_told_but_what_is_reserved(killed, monkeypatch, finished):
    monkeypatch.setattr(Repetitions, "draw_number", lambda self: 5)
    existing = killed(*BEST)
    if finished:
        run_sweep(make_plan(existing.config))
    status = status_of(existing)
    told = {name for name, value in vars(status).items() if value not in (None, (), [])}
    assert told == {"name", "kind", "state", "folder", "metric", "spending"}
    assert (status.spending.tokens_drawn, status.spending.drawn) == (None, None)
    assert "secret" in text_of(existing)
    assert not existing.storage.progress_folder.exists()


def test_a_run_is_a_line_without_trials(settings, next_sweep, monkeypatch):
    config = load_run(settings)
    step = BaseRun._train_until

    def dies(self, point, on_step):
        step(self, point, on_step)
        raise Killed

    monkeypatch.setattr(BaseRun, "_train_until", dies)
    with pytest.raises(Killed):
        run_training(make_plan(config))
    existing = find_existing(storage_of(config).folder)
    status = status_of(existing)
    assert (status.kind, status.state, status.trials, status.steps, status.num_steps) == (
        "run",
        "interrupted",
        [],
        2,
        4,
    )
    assert "2 of 4" in text_of(existing)


def test_a_storage_folder_shows_all_of_its_runs(killed, tmp_path):
    existing = killed()
    text = shown(overview([status_of(existing)]))
    assert "test" in text
    assert "interrupted" in text
    assert "6 of 12" in text


def test_status_as_json(killed, tmp_path):
    existing = killed()
    done = CliRunner().invoke(app, ["status", str(existing.storage.folder), "--format", "json"])
    found = json.loads(done.stdout)
    assert (found["state"], found["steps"], found["trials"][0]["state"]) == ("interrupted", 6, "complete")
    done = CliRunner().invoke(app, ["status", str(existing.storage.root), "--format", "json"])
    assert [one["name"] for one in json.loads(done.stdout)] == ["test"]


def test_a_watch_ends_with_what_it_watches(killed):
    done = CliRunner().invoke(app, ["status", str(killed().storage.folder), "--watch"])
    assert done.exit_code == 0
    assert "interrupted" in done.stdout


def test_resume_goes_on_where_the_sweep_was(killed, settings, tmp_path):
    existing = killed()
    before = Ledger(existing.storage.database_url).drawn("test", TRAIN_STEP)
    done = CliRunner().invoke(app, ["resume", str(existing.storage.folder), "--format", "json"])
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert [trial["state"] for trial in result["trials"]] == ["complete"] * 3
    assert Ledger(existing.storage.database_url).drawn("test", TRAIN_STEP) == before + 6 == 12
    assert result["statement"]["epsilon_total"] == make_plan(existing.config).epsilon < math.inf
    again = CliRunner().invoke(app, ["resume", str(existing.storage.folder)])
    assert again.exit_code == 2
    assert "this sweep is finished" in again.stderr


def test_resume_in_a_storage_folder_that_was_moved(killed, tmp_path):
    existing = killed()
    moved = existing.storage.root.rename(tmp_path / "elsewhere")
    config = config_to_resume(moved / "test")
    assert config.storage_path == str(moved)
    assert run_sweep(make_plan(config)).folder == moved / "test"


def test_resume_refuses_what_it_cannot_go_on_with(killed, tmp_path):
    folder = killed().storage.folder
    with pytest.raises(ValueError, match=r"nowhere: there is no config.json; expected the folder of a run or sweep"):
        config_to_resume(tmp_path / "nowhere")
    with find_existing(folder).storage.lock(), pytest.raises(ValueError, match=r"held by a live process; `dpzo status"):
        config_to_resume(folder)
    alone = folder.rename(tmp_path / "test")
    with pytest.raises(ValueError, match=r"the ledger dpzo\.db from which 'test' drew is missing"):
        config_to_resume(alone)
    other = alone.rename(folder.with_name("other"))
    with pytest.raises(ValueError, match=r"is the folder of 'test', and the ledger knows it by that name"):
        config_to_resume(other)


def test_a_folder_is_held_while_its_process_lives_and_looking_does_not_hold_it(tmp_path, settings):
    storage = storage_of(load_sweep(settings))
    assert not storage.is_held()
    with storage.lock():
        assert storage.is_held()
        with pytest.raises(ValueError, match="is running in another process"), storage.lock():
            pass
    assert not storage.is_held()
    with storage.lock():
        pass


def test_a_job_that_retries_a_finished_sweep_shows_its_statement_again(settings, next_sweep, tmp_path):
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps(settings))
    first = CliRunner().invoke(app, ["sweep", str(file), "--or-resume"])
    assert first.exit_code == 0, first.stderr
    next_sweep(kill_after=0)  # no trial may run
    again = CliRunner().invoke(app, ["sweep", str(file), "--or-resume"])
    assert (again.exit_code, again.stderr) == (0, "")
    statement = again.stdout[again.stdout.index("PRIVACY STATEMENT") :].split()
    assert first.stdout.split()[-len(statement) :] == statement
    other = CliRunner().invoke(app, ["sweep", str(file), "--or-resume", "--set", "method.num_steps=5"])
    assert other.exit_code == 2
    assert "holds other settings" in other.stderr
    assert CliRunner().invoke(app, ["sweep", str(file)]).exit_code == 2


def test_one_broken_folder_is_named_and_hides_no_other(settings, tmp_path):
    for name in ("good", "broken", "renamed"):
        storage, config = storage_of(load_run(settings, [f"name={name}"])), load_run(settings, [f"name={name}"])
        write_config(storage, config)
    for name, content in (("broken", "[]"), ("renamed", '{"name": "renamed", "privacy": {}, "search": 3}')):
        (tmp_path / "runs" / name / "config.json").write_text(content)
    result = CliRunner().invoke(app, ["status", str(tmp_path / "runs")])
    assert result.exit_code == 2
    assert "good" in result.stdout
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"Error: {tmp_path / 'runs' / 'broken' / 'config.json'} is not as dpzo wrote it")
    assert lines[1].startswith(f"{tmp_path / 'runs' / 'renamed' / 'config.json'}: ")
    assert len(lines) == 2


@pytest.mark.parametrize("content", ["[]", "{}", '{"epsilon_here": "x"}', "{"])
def test_a_statement_that_was_changed_is_named(settings, tmp_path, content):
    storage = storage_of(load_run(settings))
    storage.statement_file.parent.mkdir(parents=True)
    storage.statement_file.write_text(content)
    with pytest.raises(ValueError, match=r"privacy_statement\.json is not as dpzo wrote it"):
        _epsilon_here(storage, None)
