import math
from contextlib import closing
from types import SimpleNamespace

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import Storage, storage_of
from orchestrator.storage.progress import ProgressFile
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep import ray_metrics as module
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.monitor import WorkFacts
from orchestrator.sweep.ray_metrics import show_score
from orchestrator.sweep.trial import SweepContext, Trial
from tests.support.inline import without_cluster

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")


@pytest.fixture
def shown(monkeypatch):
    """What would stand on the metrics port: (name, sweep, trial) → value."""
    values = {}

    class Gauge:
        def __init__(self, name, description, tag_keys):
            assert description
            self.name, self.tag_keys = name, tag_keys

        def set(self, value, tags):
            assert tuple(tags) == self.tag_keys
            values[self.name, *tags.values()] = value

    monkeypatch.setattr("ray.util.metrics.Gauge", Gauge)
    monkeypatch.setattr(module, "_start_repeating", lambda: None)
    monkeypatch.setattr(module, "_shown", {})
    module._gauge.cache_clear()
    yield values
    module._gauge.cache_clear()


@pytest.fixture
def context(settings):
    def make(*overrides):
        plan = make_plan(load_sweep(settings, overrides))
        return SweepContext(plan, storage_of(plan.config), threads=1)

    return make


@pytest.fixture
def in_session(monkeypatch):
    monkeypatch.setattr(module, "ray", SimpleNamespace(is_initialized=lambda: True))


def test_steps_score_and_epsilon_are_shown_by_sweep_and_trial(shown, in_session, tmp_path):
    show_score(Storage(tmp_path, "reviews"), "trial-003", 13, 0.75, 1.5)
    assert shown == {
        ("dpzo_steps", "reviews", "trial-003"): 13,
        ("dpzo_score", "reviews", "trial-003"): 0.75,
        ("dpzo_epsilon", "reviews", "trial-003"): 1.5,
    }


def test_what_ray_forgot_is_set_again_with_the_same_value(shown, in_session, tmp_path, monkeypatch):
    show_score(Storage(tmp_path, "reviews"), "trial-003", 13, 0.75, 1.5)
    told = dict(shown)
    shown.clear()
    pauses = iter([None])
    monkeypatch.setattr(module.time, "sleep", lambda _: next(pauses))
    with pytest.raises(StopIteration):
        module._repeat()
    assert shown == told


def test_nothing_moves_between_two_scores(shown, in_session, context, monkeypatch):
    """How long a step took hints at the size of its batch."""
    shared = context("score.times=2")
    reserve_plan(shared.plan, shared.storage)
    with closing(shared.workspace()) as workspace:
        trial = Trial(shared, workspace, {"number": 0})
        seen = []
        true_write = ProgressFile.__call__
        monkeypatch.setattr(ProgressFile, "__call__", lambda self, n: (seen.append(dict(shown)), true_write(self, n)))
        reports = [trial.report() for _ in range(2)]
    first = {("dpzo_" + name, "test", "trial-000"): reports[0][name] for name in ("steps", "score", "epsilon")}
    assert len(seen) == reports[1]["steps"]
    assert seen == [{}] * reports[0]["steps"] + [first] * (len(seen) - reports[0]["steps"])


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_is_not_shown(shown, in_session, tmp_path, value):
    show_score(Storage(tmp_path, "reviews"), "trial-003", 13, value, value)
    assert list(shown.values()) == [13]


def test_of_one_winner_nothing_is_shown(shown, in_session, context):
    show_score(context(*BEST).storage, "trial-000", 13, 0.75, 1.5)
    assert shown == {}


def test_outside_a_session_nothing_is_shown(shown, context, monkeypatch):
    monkeypatch.setattr(module.ray, "is_initialized", lambda: False)
    show_score(context().storage, "trial-000", 13, 0.75, 1.5)
    assert shown == {}


def test_the_gauges_of_a_sweep_follow_its_scores(shown, in_session, settings, monkeypatch):
    next_sweep = without_cluster(monkeypatch)
    next_sweep(scores={0: 0.5, 1: 0.9, 2: 0.7}, stop_after={2: 1})
    plan = make_plan(load_sweep(settings))
    run_sweep(plan)
    of_sweep = {name[0].removeprefix("dpzo_sweep_"): value for name, value in shown.items() if name[1:] == ("test",)}
    assert of_sweep == {
        "steps": 10,
        "steps_reserved": 12,
        "epsilon": plan.epsilon,
        "best_score": 0.9,
        "lanes": 0,
    }
    states = {name[2]: value for name, value in shown.items() if name[0] == "dpzo_sweep_trials"}
    assert states == {"running": 0, "complete": 2, "stopped early": 1, "failed": 0, "to come": 0}


def test_the_sweep_of_one_winner_has_no_gauge(shown, in_session, settings, monkeypatch):
    without_cluster(monkeypatch)
    run_sweep(make_plan(load_sweep(settings, BEST)))
    assert shown == {}


def test_a_sweep_that_continues_counts_what_ended_before(shown, in_session):
    gauges = module.SweepGauges(3.0, None)
    row = TrialRow(0, {}, "complete", 4, 5, [0.5])
    gauges.on_start(WorkFacts("sweep", "reviews", "accuracy", 4, num_trials=3, ended=[row]))
    gauges.on_trial_start(TrialRow(1, {}))
    assert shown["dpzo_sweep_trials", "reviews", "to come"] == 1
    assert shown["dpzo_sweep_lanes", "reviews"] == 1
    assert shown["dpzo_sweep_steps", "reviews"] == 5
    assert ("dpzo_sweep_steps_reserved", "reviews") not in shown
