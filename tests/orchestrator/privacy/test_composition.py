"""Rule 1: what a sweep costs is what its caps cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from orchestrator.privacy.composition import EVALUATION, TRAIN_STEP, EvaluationCap, PlannedSweep, StepCap, SweepCaps
from orchestrator.privacy.events import Release, read


def plan(**changes):
    fields = {"num_trials": 4, "steps_per_trial": 25, "sampling_prob": 0.05, "noise_multiplier": 5.0}
    return PlannedSweep.model_validate(fields | changes)


def test_golden_rule_one():
    # accounting.md: 100,000 steps (σ 10, q .016) + 60 evaluations (σ 20): 2.622
    caps = SweepCaps(
        train_step=StepCap(sampling_prob=0.016, noise_multiplier=10.0, num_steps=100_000),
        evaluation=EvaluationCap(noise_multiplier=20.0, count=60),
    )
    assert caps.epsilon(1e-5) == pytest.approx(2.622, rel=1e-3)
    assert caps.certificate(1e-5).method == "PLD"


def test_the_event_holds_every_token_of_every_cap():
    planned = plan(spare_steps=7, evaluations_per_trial=3, evaluation_noise_multiplier=20.0, spare_evaluations=2)
    caps = planned.caps()
    assert read(caps.event()).counts == (
        (Release("gaussian", 0.05, 5.0), 4 * 25 + 7),
        (Release("gaussian", 1.0, 20.0), 4 * 3 + 2),
    )
    assert {kind: cap.count for kind, cap in caps.tokens().items()} == {TRAIN_STEP: 107, EVALUATION: 14}
    assert caps.tokens()[TRAIN_STEP].parameters == {
        "noise": "gaussian",
        "noise_multiplier": 5.0,
        "sampling_prob": 0.05,
    }
    assert read(planned.trial_caps().event()).counts == (
        (Release("gaussian", 0.05, 5.0), 25),
        (Release("gaussian", 1.0, 20.0), 3),
    )


def test_spare_tokens_and_evaluations_cost_and_a_trial_costs_less():
    bare = plan().caps().epsilon(1e-5)
    assert plan(spare_steps=50).caps().epsilon(1e-5) > bare
    assert plan(evaluations_per_trial=2, evaluation_noise_multiplier=20.0).caps().epsilon(1e-5) > bare
    assert plan().trial_caps().epsilon(1e-5) < bare
    assert plan(num_trials=1).caps() == plan().trial_caps()


def test_whole_numbers_become_floats_before_they_reach_the_accountant():
    caps = plan(noise_multiplier=5, sampling_prob=1).caps()
    assert type(caps.train_step.noise_multiplier) is type(caps.train_step.sampling_prob) is float
    assert read(caps.event()).counts == ((Release("gaussian", 1.0, 5.0), 100),)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_trials": 0},
        {"steps_per_trial": 0},
        {"steps_per_trial": 2.5},
        {"sampling_prob": 0.0},
        {"sampling_prob": 1.1},
        {"sampling_prob": math.nan},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": math.nan},
        {"noise_multiplier": math.inf},
        {"noise_multiplier": -1.0},
        {"spare_steps": -1},
        {"evaluation_noise_multiplier": 0.0},
        {"momentum": 0.9},
    ],
    ids=str,
)
def test_plans_out_of_range_are_refused(changes):
    with pytest.raises(ValidationError, match=next(iter(changes))):
        plan(**changes)


def test_evaluations_without_noise_are_refused():
    with pytest.raises(ValidationError, match="set evaluation_noise_multiplier"):
        plan(evaluations_per_trial=1)
    with pytest.raises(ValidationError, match="set evaluation_noise_multiplier"):
        plan().changed(spare_evaluations=1)


def test_plans_and_caps_cannot_be_changed_after_the_fact():
    for model, field in ((plan(), "num_trials"), (plan().caps().train_step, "num_steps")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, 1)


def test_a_float32_that_slips_past_the_model_is_still_refused():
    caps = SweepCaps(train_step=StepCap.model_construct(sampling_prob=0.1, noise_multiplier=np.float32(1), num_steps=9))
    with pytest.raises(ValueError, match="must be a Python float"):
        caps.epsilon(1e-5)
