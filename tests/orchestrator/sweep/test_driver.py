"""A sweep without its cluster: what happens before the first trial and after the last."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.cluster import session
from orchestrator.cluster.nodes import require_as_driver
from orchestrator.config.loading import load_sweep, resolved_json
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.existing import find_existing
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.storage.results import write_config
from orchestrator.sweep import driver as module
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.lane import Lane
from orchestrator.sweep.study import open_search
from orchestrator.sweep.trial import SweepContext
from tests.support.quadratic import Quadratic, example
from trainers.mechanism.release_log import LOG_NAME, Stopped
from trainers.run.context import Workspace

NUM_TRIALS = 3


@pytest.fixture
def evaluator():
    return Quadratic()


@pytest.fixture
def plan(settings, evaluator, monkeypatch, tmp_path):
    """A plan whose sweep runs on the quadratic model, and starts no cluster."""
    workspace = Workspace([example(n) for n in range(40)], [example(n) for n in range(10)], evaluator)
    for place in ("orchestrator.sweep.trial", "orchestrator.sweep.preparation", "orchestrator.sweep.rebuild"):
        monkeypatch.setattr(f"{place}.open_workspace", lambda config, **_: workspace)
    monkeypatch.setattr(module, "ray_session", lambda *_: contextlib.nullcontext())
    made = make_plan(load_sweep(settings))
    storage_of(made.config).model_folder.mkdir(parents=True)
    return made


def take_trials(plan, scores) -> list[np.ndarray]:
    """Do what Tune would: run one trial after the other on a lane, and tell the study. Return θ of each."""
    config = with_absolute_paths(plan.config)
    storage = storage_of(config)
    reserve_plan(plan, storage)
    write_config(storage, config)
    search = open_search(config.search, config.search.num_trials, config.name, storage.database_url)
    lane, found = Lane.__new__(Lane), []
    for number, score in enumerate(scores):
        values = search.suggest(f"tune-{number}")
        if number == 0:
            lane.setup(values, SweepContext(plan, storage, threads=1))
        else:
            lane.reset_config(values)
        for iteration in (1, 2):
            result = {**lane.step(), "training_iteration": iteration, "score": score}
            if not result["finished"]:
                search.on_trial_result(f"tune-{number}", result)
        search.on_trial_complete(f"tune-{number}", result)
        found.append(lane._runner.workspace.evaluator.theta.copy())
    return found


def test_a_sweep_that_was_killed_after_its_last_trial_only_writes_what_it_found(plan, evaluator):
    thetas = take_trials(plan, [0.5, 0.9, 0.7])
    result = run_sweep(plan)
    storage = storage_of(plan.config)
    assert (result.best.number, result.best.score, result.best.steps) == (1, 0.9, 4)
    assert np.array_equal(np.load(storage.model_folder / "theta.npy"), thetas[1])
    assert [row.epsilon for row in result.trials] == [plan.trial_epsilon] * NUM_TRIALS
    assert result.statement.epsilon == plan.epsilon
    assert result.statement.tokens_drawn == {"train_step": NUM_TRIALS * 4}
    assert json.loads(storage.result_file.read_text())["best"]["number"] == 1
    assert storage.config_file.read_text() == resolved_json(with_absolute_paths(plan.config))


def test_replaying_the_best_trial_draws_no_token(plan):
    take_trials(plan, [0.5, 0.9, 0.7])
    ledger = Ledger(storage_of(plan.config).database_url)
    before = [(cap.kind, cap.drawn) for cap in ledger.reservations()]
    run_sweep(plan)
    assert [(cap.kind, cap.drawn) for cap in ledger.reservations()] == before
    assert all(cap.closed for cap in ledger.reservations())


def test_a_sweep_without_a_complete_trial_exports_no_model(plan):
    take_trials(plan, [float("nan")] * NUM_TRIALS)
    result = run_sweep(plan)
    assert (result.best, result.model_folder) == (None, None)
    assert {row.state for row in result.trials} == {"failed"}
    assert not list(storage_of(plan.config).model_folder.iterdir())
    assert result.statement.epsilon == plan.epsilon  # it was spent all the same


def test_a_finished_sweep_is_not_run_again(plan):
    take_trials(plan, [0.5, 0.9, 0.7])
    run_sweep(plan)
    with pytest.raises(ValueError, match=r"is finished, its results are in .* another name, such as --set name=test-2"):
        run_sweep(plan)


def test_the_model_of_a_lost_log_is_not_made_up(plan):
    take_trials(plan, [0.5, 0.9, 0.7])
    (storage_of(plan.config).trial_folder(1) / LOG_NAME).unlink()
    with pytest.raises(ValueError, match=r"holds 0 of the 4 steps that trial 1 released: the log was lost or cut"):
        run_sweep(plan)
    assert not storage_of(plan.config).result_file.exists()


def test_a_ray_that_does_not_start_leaves_no_reservation(plan, monkeypatch):
    """Such as under a TMPDIR whose path is too long, which Slurm gives a job."""

    def fail(**settings):
        raise OSError("AF_UNIX path length cannot exceed 107 bytes: /tmp/a/b\nmore")

    monkeypatch.setattr(module, "ray_session", session.ray_session)
    monkeypatch.setattr(session.ray, "init", fail)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(
        ValueError, match=r"nothing was charged \(AF_UNIX path length .* /tmp/a/b\)\. It wants .* TMPDIR"
    ):
        run_sweep(plan)
    storage = storage_of(with_absolute_paths(plan.config))
    assert (Ledger(storage.database_url).reservations(), storage.config_file.exists()) == ([], False)


@pytest.mark.parametrize("begun", [0, NUM_TRIALS])
def test_a_search_that_tune_left_early_is_not_finished(plan, evaluator, monkeypatch, begun):
    """Tune returns as if all had ended when a signal stops it: with trials that run, or are still to come."""
    closed = []

    def leave(context, search, board, missing):
        closed.append(evaluator.closed)  # before lanes start engines of their own
        for number in range(begun):
            board.on_trial_start(0, [], SimpleNamespace(config={"number": number}, trial_id=f"tune-{number}"))

    monkeypatch.setattr(module, "_run_trials", leave)
    storage = storage_of(with_absolute_paths(plan.config))
    with pytest.raises(Stopped, match=f"interrupted. Continue with: dpzo resume {storage.folder}"):
        run_sweep(plan)
    assert closed == [True]
    assert find_existing(storage.folder).state() == "interrupted"
    assert not any(cap.closed for cap in Ledger(storage.database_url).reservations())


def test_lanes_are_told_which_folder_is_the_drivers(plan, monkeypatch):
    def end(context, *_):
        require_as_driver(context.storage, context.mark)
        raise Stopped("as it was told")

    monkeypatch.setattr(module, "_all_trials", end)
    with pytest.raises(Stopped, match="as it was told"):
        run_sweep(plan)
