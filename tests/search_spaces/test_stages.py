"""Stages as one thing: always in order, and only those that a trial has."""

import pickle
import random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from search_spaces import Choice, Float, Space
from search_spaces.space import define_by_run
from search_spaces.trial_config import apply, refused_ends
from tests.search_spaces.test_trial_config import CONFIG

RATIO = {"low": 0.3, "high": 1.0}
FORM = {
    "number": {"low": 1, "high": 4},
    "learning_rate": {"start": {"low": 1e-3, "high": 1e-1, "log": True}, "ratio": RATIO},
    "clip_norm": {"start": Float(1.0, 30.0), "ratio": Choice([0.5, 1.0])},
    "smoothing": {"start": Float(1e-3, 1e-2, log=True), "ratio": RATIO},
    "proximal": {"choices": [0.0, 0.1]},
}
SPACE = Space({"method.stages": FORM})


def asked(num_trials, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trials = [study.ask() for _ in range(num_trials)]
    for trial in trials:
        define_by_run(SPACE.root)(trial)
    return [trial.params for trial in trials]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_stages_are_as_many_as_drawn_and_in_order(seed):
    values = SPACE.sample(random.Random(seed))
    method, number = apply(CONFIG, values).method, values["method.stages.number"]
    assert len(method.stage_starts) == number
    for schedule in (method.learning_rate, method.clip_norm, method.smoothing):
        assert len(schedule.values) == number
        assert list(schedule.values) == sorted(schedule.values, reverse=True)
    assert method.proximal in (0.0, 0.1)
    ratios = [name for name in values if ".ratio." in name]
    assert len(ratios) == 3 * (number - 1)
    assert all(int(name.rpartition(".")[2]) < number for name in ratios)


def test_stages_have_one_law_whoever_draws():
    rng = random.Random(1)
    ours, theirs = [SPACE.sample(rng) for _ in range(1000)], asked(1000)
    for name in ("method.stages.learning_rate.start", "method.stages.smoothing.ratio.2"):
        one, other = ([values[name] for values in many if name in values] for many in (ours, theirs))
        assert stats.ks_2samp(one, other, method="asymp").pvalue > 1e-3


def test_stages_come_back_from_json_and_pickle():
    assert Space.model_validate_json(SPACE.model_dump_json()) == SPACE
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    assert not list(refused_ends(SPACE, CONFIG))


def test_a_number_alone_fixes_the_stages_and_a_distribution_alone_the_value():
    space = Space({"method.stages": {"number": 3, "learning_rate": Float(1e-3, 1e-2)}})
    method = apply(CONFIG, space.sample(random.Random(0))).method
    assert len(method.stage_starts) == 3
    assert len(set(method.learning_rate.values)) == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"number": 0}, "the number of stages is a whole number from 1 to 30, got [0]"),
        ({"number": {"low": 1.0, "high": 2.5}}, "the number of stages is a whole number"),
        ({"learning_rate": {"start": RATIO, "ratio": {"low": 0.5, "high": 1.5}}}, "a ratio is above 0 and at most 1"),
        ({"lengths": "free"}, "Extra inputs"),
    ],
)
def test_stages_that_cannot_be_are_refused(changes, complaint):
    with pytest.raises(ValidationError) as refusal:
        Space({"method.stages": {**FORM, **changes}})
    assert complaint in str(refusal.value)
    assert refusal.value.errors()[0]["loc"][:2] == ("method.stages", next(iter(changes)))


def test_stages_longer_than_the_run_are_refused():
    short = CONFIG.model_copy(update={"method": CONFIG.method.model_copy(update={"num_steps": 7})})
    refused = [(name, end) for name, end, _ in refused_ends(SPACE, short)]
    assert ("method.stages.number", 4) in refused
    with pytest.raises(ValueError, match="4 stages, each twice as long as the one before, need more than 7 steps"):
        apply(short, {"method.stages.number": 4})
