import math

import pytest
from ray import cloudpickle
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

from orchestrator.config.loading import load_sweep
from orchestrator.sweep.schedulers import make_scheduler, score_error
from search_spaces.early_stopping import EarlyStopping
from tests.support.inline import CONTROLLER, TuneTrial


@pytest.mark.parametrize(
    ("stopping", "kind", "rungs"),
    [
        ({"kind": "none"}, FIFOScheduler, None),
        ({"kind": "median"}, MedianStoppingRule, None),
        ({"kind": "asha"}, ASHAScheduler, [[16, 4, 1]]),
        ({"kind": "asha", "grace": 2, "factor": 3}, ASHAScheduler, [[18, 6, 2]]),
        ({"kind": "hyperband", "factor": 3}, ASHAScheduler, [[9, 3, 1], [9, 3], [9]]),
    ],
)
def test_settings_reach_the_scheduler(stopping, kind, rungs):
    scheduler = make_scheduler(EarlyStopping(**stopping), "score", 20)
    assert isinstance(scheduler, kind)
    if rungs is not None:
        assert [[rung for rung, _ in bracket._rungs] for bracket in scheduler._brackets] == rungs


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
@pytest.mark.parametrize(
    ("score", "error", "verdict"), [(0.56, 0.0, "STOP"), (0.56, 0.05, "CONTINUE"), (0.5, 0.05, "STOP")]
)
def test_a_trial_goes_on_where_noise_may_be_why_it_is_worse(kind, score, error, verdict):
    stopping = {"kind": kind} | ({"brackets": 1} if kind == "hyperband" else {})
    scheduler = make_scheduler(EarlyStopping(**stopping), "score", 4, error)
    trials = [TuneTrial(trial_id=str(number)) for number in range(4)]
    found = []
    for trial, value in zip(trials, (0.6, 0.6, 0.6, score), strict=True):
        scheduler.on_trial_add(CONTROLLER, trial)
        result = {"score": value, "training_iteration": 1, "time_total_s": 1.0}
        found.append(scheduler.on_trial_result(CONTROLLER, trial, result))
    assert found == ["CONTINUE"] * 3 + [verdict]
    cloudpickle.dumps(scheduler)  # as Tune stores it


def test_the_error_of_a_score_is_that_of_its_noise(settings):
    private = ["score.on=private", "score.num_examples=100", "score.noise_multiplier=8"]
    assert score_error(load_sweep(settings)) == 0.0
    assert score_error(load_sweep(settings, private)) == 0.08
    assert score_error(load_sweep(settings, [*private, "score.metric=f1"])) == pytest.approx(0.08 * math.sqrt(2))
    assert score_error(load_sweep(settings, [*private, "privacy.noise=laplace"])) == pytest.approx(0.08 * math.sqrt(2))
