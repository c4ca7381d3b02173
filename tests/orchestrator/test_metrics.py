import math

import pytest

from orchestrator import metrics as module
from orchestrator.config import load_sweep
from orchestrator.lane import Job
from orchestrator.metrics import Metrics
from orchestrator.planning import make_plan
from orchestrator.progress import Progress
from orchestrator.storage import storage_of

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")


@pytest.fixture
def shown(monkeypatch):
    """What would stand on the metrics port: (name, sweep, trial) → value."""
    values = {}

    class Gauge:
        def __init__(self, name, description, tag_keys):
            assert description
            assert tag_keys == ("sweep", "trial")
            self.name = name

        def set(self, value, tags):
            values[self.name, tags["sweep"], tags["trial"]] = value

    monkeypatch.setattr("ray.util.metrics.Gauge", Gauge)
    module._gauge.cache_clear()
    yield values
    module._gauge.cache_clear()


@pytest.fixture
def job(settings):
    def make(*overrides):
        plan = make_plan(load_sweep(settings, overrides))
        return Job(plan, plan.config.performance, storage_of(plan.config))

    return make


def test_steps_rate_score_and_epsilon_are_shown_by_sweep_and_trial(shown):
    metrics = Metrics("reviews", "trial-003")
    metrics.progressed(Progress("trial-003", 12, 100, None, 0.0, "host", 1))
    assert shown == {("dpzo_steps", "reviews", "trial-003"): 12}
    metrics.progressed(Progress("trial-003", 13, 100, 2.5, 0.0, "host", 1))
    metrics.scored(0.75, 1.5)
    assert {name: value for (name, *_), value in shown.items()} == {
        "dpzo_steps": 13,
        "dpzo_steps_per_second": 2.5,
        "dpzo_score": 0.75,
        "dpzo_epsilon": 1.5,
    }


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_is_not_shown(shown, value):
    Metrics("reviews", "trial-003").scored(value, value)
    assert shown == {}


def test_of_one_winner_nothing_is_shown(job, monkeypatch):
    monkeypatch.setattr("orchestrator.lane.ray.is_initialized", lambda: True)
    assert job().metrics(0) is not None
    assert job(*BEST).metrics(0) is None


def test_outside_a_cluster_nothing_is_shown(job, monkeypatch):
    monkeypatch.setattr("orchestrator.lane.ray.is_initialized", lambda: False)
    assert job().metrics(0) is None
