"""What the page shows: to everyone what is released as of the latest score, to the operator everything."""

import dataclasses
import json

import pytest
from pydantic_core import to_json

from orchestrator.cli.dashboard.snapshot import place_of
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.privacy.rules.repetitions import Repetitions
from orchestrator.storage.existing import find_existing
from orchestrator.storage.paths import storage_of
from orchestrator.storage.progress import Progress
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.single_run import run_training
from orchestrator.sweep.status import status_of
from tests.support.inline import Killed, without_cluster

BEST = ("search.release=best", "search.sampler=random", "search.seed=null", "name=one-winner")
STEPS_BETWEEN = Progress("trial-001", 3, 4, 0.5, 0.0, "node-1", 12)


@pytest.fixture
def next_sweep(monkeypatch):
    monkeypatch.setattr("orchestrator.storage.progress.PERIOD_S", 0.0)
    return without_cluster(monkeypatch)


@pytest.fixture
def killed(settings, next_sweep):
    """Leave a sweep behind whose driver died after three results, of two a trial; its second trial took a step more."""

    def leave(*overrides):
        plan = make_plan(load_sweep(settings, overrides))
        next_sweep(kill_after=3)
        with pytest.raises(Killed):
            run_sweep(plan)
        next_sweep()
        return find_existing(storage_of(plan.config).folder)

    return leave


@pytest.fixture
def running(killed):
    """A sweep in the middle of a segment, whose lane has written its progress."""
    existing = killed()
    existing.storage.progress_folder.mkdir(exist_ok=True)
    path = existing.storage.progress_folder / "trial-001.json"
    path.write_text(json.dumps(dataclasses.asdict(STEPS_BETWEEN)))
    with existing.storage.lock():
        yield existing


def test_between_two_scores_nothing_moves_for_everyone(running):
    """The driver died at the result that would have been stored: rows know of trial 0 alone."""
    status = status_of(running, "everyone")
    assert [(row.state, row.steps) for row in status.trials] == [("complete", 4), ("running", 0)]
    assert (status.steps, status.lanes, status.steps_per_s, status.seconds_left) == (4, [], None, None)
    assert status.spending.tokens_drawn == {TRAIN_STEP: (4, 12)}
    assert 0 < status.spending.drawn < status_of(running, "owner").spending.drawn
    for told in ("node-1", "process 12", "steps/s", "3/4", "last step"):
        assert told not in to_json(place_of(str(running.storage.folder)).view("test")).decode()


def test_the_operator_sees_the_steps_and_the_lanes(running):
    view = place_of(str(running.storage.folder), for_operator=True).view("test")
    (lane,) = view.lanes
    assert (lane.trial, lane.steps, lane.process) == ("trial 1", "3/4", "node-1, process 12")
    assert lane.speed.startswith("0.5 steps/s · last step")
    assert view.trials[1].steps == "3/4"
    assert view.as_of == "now"


def test_a_trial_has_its_scores_over_steps_and_its_schedules(running):
    view = place_of(str(running.storage.folder)).view("test")
    first, second = view.trials
    assert [step for step, _ in first.scores] == [2, 4]
    assert (first.steps, first.state, first.is_best) == ("4/4", "complete", True)
    assert view.setting_names == ["learning_rate"]
    assert set(first.schedules) == {"learning_rate", "smoothing", "clip_norm"}
    (begin, rate), (end, same) = first.schedules["learning_rate"]
    assert (begin, end, rate) == (0, 3, same)
    assert f"{rate:.3g}" == first.settings[0]
    assert [lane.trial for lane in view.lanes] == ["trial 1"]
    assert second.scores == []
    assert view.as_of == "the latest scores"
    assert 0 < view.epsilon.share < 1


def test_a_trial_that_ended_early_has_its_last_score_where_it_ended(settings, next_sweep):
    next_sweep(stop_after={0: 1})
    plan = make_plan(load_sweep(settings))
    run_sweep(plan)
    view = place_of(str(storage_of(plan.config).folder)).view("test")
    assert [step for step, _ in view.trials[0].scores] == [2]
    assert view.trials[0].state == "stopped early"
    assert (view.state, view.lanes) == ("finished", [])
    assert view.epsilon.share < 1


def test_a_search_of_one_winner_is_refused_but_to_the_operator(killed, monkeypatch):
    monkeypatch.setattr(Repetitions, "draw_number", lambda self: 5)
    existing = killed(*BEST)
    folder = str(existing.storage.folder)
    with pytest.raises(ValueError, match=r"releases only its winner, so the page would be empty\..*--operator"):
        place_of(folder)
    view = place_of(folder, for_operator=True).view("one-winner")
    assert [trial.state for trial in view.trials] == ["complete", "interrupted"]
    assert "3 to come" in dict(view.facts)["trials"]


def test_among_others_a_search_of_one_winner_shows_what_its_statement_says(killed, monkeypatch):
    monkeypatch.setattr(Repetitions, "draw_number", lambda self: 5)
    existing = killed(*BEST)
    place = place_of(str(existing.storage.root))
    (line,) = place.lines()
    assert (line.name, line.steps) == ("one-winner", "secret")
    view = place.view("one-winner")
    assert (view.trials, view.lanes, view.epsilon) == ([], [], None)
    assert "secret" in dict(view.facts)["trials"]
    assert "drawn" not in dict(view.facts)


def test_a_run_shows_its_scores_when_it_is_finished(settings, next_sweep):
    config = load_run(settings)
    done = run_training(make_plan(config))
    view = place_of(str(done.folder)).view("test")
    (only,) = view.trials
    assert (view.kind, only.state, only.steps) == ("run", "complete", "4/4")
    assert only.scores == [(2, done.scores[0]), (4, done.scores[1])]
    (done.folder / "result.json").unlink()
    with find_existing(done.folder).storage.lock():
        view = place_of(str(done.folder)).view("test")
    assert (view.state, view.trials[0].scores, dict(view.facts)["steps"]) == ("running", [], "4 in all")
    assert "drawn" not in dict(view.facts)


def test_a_place_that_is_none_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match=r"there is no config\.json"):
        place_of(str(tmp_path / "none"))
    empty = place_of(str(tmp_path))
    assert empty.lines() == []
    with pytest.raises(ValueError, match="no run or sweep of this name"):
        empty.view("../other")


def test_a_folder_whose_files_were_changed_hides_no_other(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("[]" if name == "a" else "{}")
    place = place_of(str(tmp_path))
    assert [(line.name, line.state) for line in place.lines()] == [("a", "cannot be read"), ("b", "cannot be read")]
    with pytest.raises(ValueError, match=r"config\.json"):
        place.view("a")
