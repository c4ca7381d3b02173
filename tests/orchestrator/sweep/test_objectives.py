"""Two objectives: score and work, and the front of trials that none beats in both."""

import pytest

from orchestrator.api.views.figures.catalogue import draw
from orchestrator.api.views.figures.trials import trials_of
from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.existing import find_existing
from orchestrator.storage.paths import storage_of
from orchestrator.storage.trials import TrialRow, front_of
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.status import status_of
from orchestrator.sweep.study_view import copy_of_study
from tests.support.inline import Killed, without_cluster

TWO = ["search.objectives=[score, forward_passes]", "search.num_trials=5"]
SPACE = {"method.num_directions": {"low": 2, "high": 7}, "method.learning_rate": {"low": 1e-4, "high": 1e-2}}


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


def beats(one, other) -> bool:
    return one != other and one[0] >= other[0] and one[1] <= other[1]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_no_trial_of_the_front_beats_another(settings, next_sweep, sampler):
    settings["search"] |= {"space": SPACE, "sampler": sampler}
    plan = make_plan(load_sweep(settings, TWO))
    scores = dict(enumerate((0.2, 0.7, 0.5, 0.9, 0.4)))
    next_sweep(scores=scores, kill_after=5)
    with pytest.raises(Killed):
        run_sweep(plan)
    next_sweep(scores=scores)
    rows = status_of(find_existing(storage_of(plan.config).folder)).trials
    assert [len(row.scores) for row in rows] == [2, 2, 0]  # the driver died before it had the last one
    result = run_sweep(plan)
    assert [(row.number, row.state, len(row.scores)) for row in result.trials] == [(n, "complete", 2) for n in range(5)]
    assert [row.forward_passes for row in result.trials] == [
        8 * row.values["method.num_directions"] for row in result.trials
    ]
    values = {row.number: (row.score, row.forward_passes) for row in result.trials}
    front = [values.pop(number) for number in result.front]
    assert front
    assert not any(beats(one, other) for one in front for other in front)
    assert all(any(beats(one, other) for one in front) for other in values.values())
    study = copy_of_study(storage_of(plan.config).database_url, "test")
    assert {trial.number for trial in study.best_trials} == set(result.front)
    assert result.best.score == max(score for score, _ in front)
    assert trials_of(find_existing(result.folder)).load_study().best_trials
    draw("importance", trials_of(find_existing(result.folder)))


def test_the_statement_tells_from_what_settings_were_chosen(settings):
    settings["search"] |= {"space": SPACE, "sampler": "tpe"}
    assert "2 chosen by TPE from earlier scores and forward passes" in make_plan(load_sweep(settings, TWO)).search_text


def test_a_front_leaves_out_what_is_beaten_and_what_did_not_end():
    rows = [
        TrialRow(0, {}, "complete", scores=[0.5], forward_passes=8),
        TrialRow(1, {}, "complete", scores=[0.5], forward_passes=4),
        TrialRow(2, {}, "complete", scores=[0.9], forward_passes=9),
        TrialRow(3, {}, "complete", scores=[0.4], forward_passes=4),
        TrialRow(4, {}, "failed", scores=[1.0], forward_passes=1),
        TrialRow(5, {}, "complete", scores=[0.9], forward_passes=9),
    ]
    assert front_of(rows, "forward_passes") == [1, 2, 5]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["search.objectives=[score, speed]"], "search.objectives.1: must be 'score', 'steps' or 'forward_passes'"),
        (["search.objectives=[steps]"], "search.objectives: are [score, steps] or [score, forward_passes]"),
        (["search.objectives=[score, steps]"], "search.objectives: steps are the same in all trials"),
        (["search.release=best"], "search.objectives: release: best takes one winner, and a front has none"),
        (["search.early_stopping=asha", "score.times=2"], "search.early_stopping: a trial that is stopped has no"),
        (["search.trials_without_gain=2"], "search.trials_without_gain: compares trials by their score alone"),
        (["search.sampler=cma-es"], "search.sampler: 'cma-es' learns from one objective"),
    ],
)
def test_objectives_without_a_front_are_refused(settings, overrides, line):
    settings["search"] |= {"space": SPACE}
    with pytest.raises(ConfigError) as refusal:
        load_sweep(settings, [*TWO, *overrides])
    assert any(found.startswith(line) for found in refusal.value.lines), refusal.value.lines
