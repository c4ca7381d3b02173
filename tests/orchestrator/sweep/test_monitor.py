"""What a monitor is told: every trial of a released search, and nothing of a search of one winner."""

import threading

import pytest

from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.single_run import run_training
from tests.support.inline import Killed, without_cluster
from trainers.mechanism.release_log import Stopped

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")


class Recorder:
    """Writes down every call."""

    def __init__(self) -> None:
        self.calls = []
        self.facts = []
        self.steps = []
        self.results = []

    def on_start(self, facts):
        self.calls.append("start")
        self.facts.append(facts)

    def on_trial_start(self, trial):
        self.calls.append(("trial start", trial.number))

    def on_score(self, trial):
        self.calls.append(("score", trial.number, trial.steps, len(trial.scores)))
        self.steps.append(self.facts[-1].count_steps())

    def on_trial_end(self, trial):
        self.calls.append(("trial end", trial.number, trial.state))

    def on_end(self, result):
        self.results.append(result)
        self.calls.append("end")


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


def calls_of_trial(number):
    scores = [("score", number, 2, 1), ("score", number, 4, 2)]
    return [("trial start", number), *scores, ("trial end", number, "complete")]


def test_a_monitor_is_told_of_every_trial(settings, next_sweep):
    recorder = Recorder()
    run_sweep(make_plan(load_sweep(settings)), recorder)
    trials = [call for number in range(3) for call in calls_of_trial(number)]
    assert recorder.calls == ["start", *trials, "end"]
    assert recorder.steps == [2, 4, 6, 8, 10, 12]
    (facts,) = recorder.facts
    assert (facts.kind, facts.num_trials, facts.num_steps, facts.metric) == ("sweep", 3, 4, "accuracy")
    assert list(facts.searched) == ["method.learning_rate"]


def test_a_sweep_that_fails_ends_for_its_monitor_too_and_the_next_one_tells_what_ended_before(settings, next_sweep):
    recorder = Recorder()
    next_sweep(kill_after=3)
    with pytest.raises(Killed):
        run_sweep(make_plan(load_sweep(settings)), recorder)
    assert recorder.calls[-1] == "end"
    next_sweep()
    run_sweep(make_plan(load_sweep(settings)), recorder)
    assert [(row.number, row.state) for row in recorder.facts[1].ended] == [(0, "complete")]


def test_of_a_search_of_one_winner_nothing_is_told_of_its_trials(settings, next_sweep):
    recorder = Recorder()
    run_sweep(make_plan(load_sweep(settings, BEST)), recorder)
    assert recorder.calls == ["start", "end"]
    (facts,) = recorder.facts
    assert (facts.num_trials, facts.ended, facts.count_steps) == (None, (), None)


def test_who_hears_of_the_end_gets_the_result(settings, next_sweep):
    recorder = Recorder()
    next_sweep(kill_after=3)
    with pytest.raises(Killed):
        run_sweep(make_plan(load_sweep(settings)), recorder)
    next_sweep()
    result = run_sweep(make_plan(load_sweep(settings)), recorder)
    assert recorder.results == [None, result]
    done = run_training(make_plan(load_run(settings, ["name=run"])), recorder)
    assert recorder.results[2:] == [done]


def test_a_monitor_stops_a_trial_at_once_and_no_other(settings, next_sweep):
    class Stopping(Recorder):
        def on_score(self, trial):
            super().on_score(trial)
            return False if trial.number == 1 else None

    recorder = Stopping()
    result = run_sweep(make_plan(load_sweep(settings)), recorder)
    assert [(row.state, row.steps, row.steps_charged) for row in result.trials] == [
        ("complete", 4, 4),
        ("stopped early", 2, 2),
        ("complete", 4, 4),
    ]
    assert recorder.calls[5:8] == [("trial start", 1), ("score", 1, 2, 1), ("trial end", 1, "stopped early")]


def test_another_thread_ends_a_sweep_and_the_same_call_goes_on(settings, next_sweep):
    stopping = threading.Event()

    class AfterThree(Recorder):
        def on_score(self, trial):
            super().on_score(trial)
            if len(self.steps) == 3:
                stopping.set()

    recorder, plan = AfterThree(), make_plan(load_sweep(settings))
    with pytest.raises(Stopped, match="interrupted"):
        run_sweep(plan, recorder, stopping)
    assert recorder.calls[-2:] == [("score", 1, 2, 1), "end"]
    stopping.clear()
    result = run_sweep(plan, recorder, stopping)
    assert [(row.number, row.state, row.steps) for row in result.trials] == [(n, "complete", 4) for n in range(3)]
    assert result.trials[1].steps_charged == 4  # no step was lost


def test_of_a_run_the_scores_are_told(settings, next_sweep):
    recorder = Recorder()
    run_training(make_plan(load_run(settings)), recorder)
    assert recorder.calls == ["start", ("score", 0, 2, 1), ("score", 0, 4, 2), "end"]
    assert recorder.steps == [2, 4]
    assert (recorder.facts[0].kind, recorder.facts[0].num_trials) == ("run", 1)
