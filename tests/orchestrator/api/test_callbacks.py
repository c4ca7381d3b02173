"""Functions and objects of a program hear of a sweep; what they do wrong ends nothing."""

import pytest

from orchestrator import Sweep, SweepResult, train
from orchestrator.sweep.monitor import SilentMonitor
from tests.support.inline import Killed, without_cluster

BEST = {"search.release": "best", "search.sampler": "random", "search.seed": None}


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


def test_functions_hear_of_everything_and_the_end_has_the_result(settings, next_sweep):
    heard = []
    functions = {
        event: lambda given, event=event: heard.append((event, given))
        for event in ("on_start", "on_trial_start", "on_score", "on_trial_end", "on_end")
    }
    result = Sweep(settings).run(progress=False, **functions)
    events = [event for event, _ in heard]
    of_one = ["on_trial_start", "on_score", "on_score", "on_trial_end"]
    assert events == ["on_start", *3 * of_one, "on_end"]
    assert isinstance(heard[-1][1], SweepResult)
    assert heard[-1][1] == result
    assert heard[0][1].plan.epsilon == result.epsilon


def test_false_stops_a_trial_and_nothing_else_does(settings, next_sweep):
    result = Sweep(settings).run(progress=False, on_score=lambda trial: trial.number != 1 and None)
    assert [row.state for row in result.trials] == ["complete", "stopped early", "complete"]


def test_an_error_in_a_callback_is_logged_and_ends_nothing(settings, next_sweep, caplog):
    def broken(given):
        raise RuntimeError("no disk")

    class Broken(SilentMonitor):
        on_start = on_trial_end = on_end = lambda self, given: broken(given)

    result = Sweep(settings).run(Broken(), progress=False, on_score=broken)
    assert [row.state for row in result.trials] == ["complete"] * 3
    assert sum("failed in a callback" in record.message for record in caplog.records) == 1 + 3 + 1 + 6


def test_ctrl_c_in_a_callback_ends_the_sweep(settings, next_sweep):
    def interrupt(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sweep(settings).run(progress=False, on_trial_start=interrupt)
    assert Sweep(settings).run(progress=False).best is not None


def test_of_a_search_of_one_winner_a_callback_hears_the_start_and_the_end(settings, next_sweep):
    heard = []

    class Everything(SilentMonitor):
        def on_start(self, facts):
            heard.append("start")

        def on_score(self, trial):
            heard.append(trial)
            return False

        on_trial_start = on_trial_end = on_score

        def on_end(self, result):
            heard.append(len(result.trials))

    Sweep(settings, BEST).run([Everything()], progress=False, on_end=lambda result: heard.append("function"))
    assert heard == ["start", 1, "function"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"on_score": 3}, "on_score: expected a function of one argument, got 3"),
        ({"on_scores": print}, r"on_scores: there is no such event\. Did you mean 'on_score'\?"),
        ({"callbacks": [3]}, "callbacks: expected objects with methods such as on_score, got 3"),
        ({"callbacks": print}, "callbacks: expected objects with methods such as on_score, got <built-in"),
        ({"callbacks": SilentMonitor}, "callbacks: expected objects with methods such as on_score, got <class"),
        ({"progress": "fast"}, "progress: expected auto, bar, table, lines or False, got 'fast'"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_charged(settings, next_sweep, given, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        Sweep(settings).run(**given)
    assert not (tmp_path / "runs" / "test").exists()


@pytest.mark.parametrize("event", ["on_trial_start", "on_score", "on_trial_end"])
def test_nobody_stops_or_watches_trials_that_are_secret(settings, next_sweep, event):
    with pytest.raises(ValueError, match=f"{event}: under search.release 'best' nobody hears of trials"):
        Sweep(settings, BEST).run(**{event: print})


def test_a_run_is_heard_too(settings):
    heard = []
    result = train(settings, progress=False, num_steps=2, on_score=heard.append, on_end=heard.append)
    assert [trial.steps for trial in heard[:-1]] == [1, 2]
    assert heard[-1] == result


def test_a_driver_that_dies_ends_for_its_callbacks(settings, next_sweep):
    heard = []
    next_sweep(kill_after=3)
    with pytest.raises(Killed):
        Sweep(settings).run(progress=False, on_end=heard.append)
    assert heard == [None]
