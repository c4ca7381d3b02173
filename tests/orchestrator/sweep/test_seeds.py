"""Trials of several runs (`search.seeds`): each run is charged, and the score is their mean."""

import json

import pytest

from orchestrator.budget.budget import Budget
from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.existing import find_existing
from orchestrator.storage.paths import storage_of
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.status import status_of
from tests.support.inline import Killed, without_cluster
from trainers.mechanism.release_log import LOG_NAME
from trainers.run import base_run, zeroth_order
from trainers.run.divergence import Diverged

TWO = ["search.seeds=2", "search.sampler=random", "search.num_trials=2"]  # of 4 steps and 2 scores each


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


@pytest.fixture
def scores(monkeypatch):
    """The scores of all runs, in the order in which they were taken."""
    found = []

    def noted(*arguments):
        found.append(len(found) / 16)
        return {"accuracy": found[-1]}

    monkeypatch.setattr(base_run, "public_metrics", noted)
    return found


@pytest.fixture
def plan(settings):
    return lambda *overrides: make_plan(load_sweep(settings, [*TWO, *overrides]))


def log_of(plan, number, seed=0) -> list[dict]:
    path = storage_of(plan.config).trial_folder(number, seed) / LOG_NAME
    return [json.loads(line) for line in path.read_text().splitlines()]


def drawn(plan) -> dict[tuple[str, str], int]:
    with Ledger(storage_of(plan.config).database_url, create=False) as ledger:
        return dict(ledger.drawn_by_holder(plan.config.name))


def test_two_runs_a_trial_are_charged_twice_and_scored_by_their_mean(plan, next_sweep, scores):
    made = plan()
    result = run_sweep(made)
    four = make_plan(load_sweep(made.config.model_dump(mode="json"), ["search.seeds=1", "search.num_trials=4"]))
    assert (made.epsilon, made.token_caps()) == (four.epsilon, four.token_caps())
    assert made.trial_epsilon > four.trial_epsilon
    assert result.statement.epsilon == made.epsilon
    assert result.statement.tokens_drawn == {"train_step": 16}
    assert "2 trials, each scored by the mean of 2 runs, drawn independently" in str(result.statement)
    assert made.steps_text == "2 trials × 2 seeds × 4"
    runs = ("trial-000", "trial-000-seed-1", "trial-001", "trial-001-seed-1")
    assert drawn(made) == {("train_step", run): 4 for run in runs}
    assert [row.scores for row in result.trials] == [
        [scores[1], (scores[2] + scores[4]) / 2],
        [scores[5], (scores[6] + scores[8]) / 2],
    ]
    assert [(row.steps, row.steps_charged, row.epsilon) for row in result.trials] == [(4, 8, made.trial_epsilon)] * 2
    assert [log_of(made, 1, seed)[0]["run"]["method.seed"] for seed in (0, 1)] == [0, 1]
    Budget(result.statement.budget.name, storage_of(made.config).root).verify()
    assert status_of(find_existing(storage_of(made.config).folder)).steps == 16


def test_private_scores_of_all_runs_are_counted(plan, next_sweep):
    made = plan("score.on=private", "score.num_examples=100", "score.noise_multiplier=8")
    assert made.token_caps()["evaluation"].count == 8
    assert run_sweep(made).statement.tokens_drawn == {"train_step": 16, "evaluation": 8}


def test_a_kill_within_the_second_run_loses_and_doubles_nothing(plan, next_sweep, scores, monkeypatch):
    made, steps, step = plan(), [], zeroth_order.take_step

    def dying(*arguments):
        steps.append(arguments)
        if len(steps) == 7:  # the third step of the second run
            raise Killed
        step(*arguments)

    monkeypatch.setattr(zeroth_order, "take_step", dying)
    with pytest.raises(Killed):
        run_sweep(made)
    status = status_of(find_existing(storage_of(made.config).folder))
    assert [(row.state, row.scores) for row in status.trials] == [("interrupted", scores[1:2])]
    result = run_sweep(made)
    assert result.statement.tokens_drawn == {"train_step": 16}
    logs = [log_of(made, number, seed) for number in (0, 1) for seed in (0, 1)]
    assert [[line.get("type") for line in log].count("RELEASE") for log in logs] == [4] * 4
    assert [row.state for row in result.trials] == ["complete"] * 2


def test_a_trial_that_is_stopped_has_one_run(plan, next_sweep):
    next_sweep(stop_after={1: 1})
    made = plan()
    result = run_sweep(made)
    assert [(row.state, row.steps_charged) for row in result.trials] == [("complete", 8), ("stopped early", 2)]
    assert not storage_of(made.config).trial_folder(1, 1).exists()


def test_a_run_that_ends_short_for_want_of_tokens_is_left_out(plan, next_sweep, scores):
    made = plan("search.num_trials=fit", "search.caps={steps: 14}")
    assert made.num_trials == 1
    result = run_sweep(made)
    assert [row.score for row in result.trials] == [(scores[2] + scores[4]) / 2, scores[6]]
    assert [row.steps_charged for row in result.trials] == [8, 6]
    assert result.statement.tokens_drawn == {"train_step": 14}


def test_a_trial_of_which_a_run_diverged_failed(plan, next_sweep, monkeypatch):
    def diverged(evaluator, name, steps, ranks, *public):
        if (storage_of(made.config).trial_folder(0, 1)).exists():
            raise Diverged(f"after {steps} steps")

    made = plan("search.num_trials=1", "resources.check_steps=3")
    monkeypatch.setattr(zeroth_order, "require_alive", diverged)
    trial = run_sweep(made).trials[0]
    assert (trial.state, trial.steps_charged, trial.why) == ("failed", 7, "after 3 steps")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["search.seeds=0"], "search.seeds: must be greater than or equal to 1, got 0"),
        (
            ["search.release=best"],
            "search.seeds: release: best counts a trial as one run: leave this out",
        ),
        (["search.num_trials=fit", "search.caps={steps: 7}"], "search.caps: not one trial of 8 steps and 4 scores"),
    ],
)
def test_seeds_that_cannot_be_counted_are_refused(settings, overrides, line):
    with pytest.raises(ConfigError) as refusal:
        load_sweep(settings, [*TWO, *overrides])
    assert any(found.startswith(line) for found in refusal.value.lines), refusal.value.lines
