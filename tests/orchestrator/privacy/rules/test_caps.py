"""Rule 1: what a sweep costs is what its caps cost."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from pydantic import ValidationError

from orchestrator.privacy.accountant.accountant import epsilon
from orchestrator.privacy.accountant.bounds import from_renyi
from orchestrator.privacy.accountant.events import Release, read
from orchestrator.privacy.rules.caps import EVALUATION, TRAIN_STEP, SweepCaps
from orchestrator.privacy.rules.fitting import fitting_plans
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from tests.support.accounting import delta, rdp_epsilon


def plan(**changes):
    fields = {"num_trials": 4, "steps_per_trial": 25, "sampling_prob": 0.05, "noise_multiplier": 5.0}
    return PlannedSweep.model_validate(fields | changes)


def test_golden_rule_one():
    # 100,000 steps (σ 10, q .016) + 60 evaluations (σ 20): 2.622
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


def laplace(num_coordinates, sigma=5.0, q=0.016, num_steps=75_000):
    step = StepCap(
        sampling_prob=q, noise_multiplier=sigma, num_steps=num_steps, noise="laplace", num_coordinates=num_coordinates
    )
    return SweepCaps(train_step=step)


# σ, q, T, PLD, pure ε, its last digit
@pytest.mark.parametrize(
    ("sigma", "q", "num_steps", "pld", "pure", "digit"),
    [
        (1.0, 0.01, 1_000, 1.1238, 17.04, 0.01),
        (5.0, 0.016, 75_000, 3.6361, 265, 1),
        (10.0, 0.064, 10_000, 2.5843, 67.08, 0.01),
        (20.0, 0.016, 75_000, 0.7957, 61.5, 0.1),
    ],
)
def test_golden_laplace_caps(sigma, q, num_steps, pld, pure, digit):
    one, many = laplace(1, sigma, q, num_steps), laplace(16, sigma, q, num_steps)
    assert one.epsilon(1e-5) == pytest.approx(pld, rel=1e-3)
    assert one.epsilon(0.0) == pytest.approx(pure, abs=digit / 2)
    assert many.epsilon(0.0) == pytest.approx(pure, abs=digit / 2)  # pure ε does not depend on the length
    assert pld < many.epsilon(1e-5) < 1.15 * pld  # randomised response costs more than Laplace on one number


def test_a_vector_with_laplace_noise_is_certified_as_any_pure_step():
    assert read(laplace(2).event()).counts[0][0].noise == "pure"
    assert read(laplace(1).event()).counts[0][0].noise == "laplace"
    assert laplace(2).epsilon(1e-5) == laplace(100).epsilon(1e-5)
    assert laplace(3).tokens()[TRAIN_STEP].parameters["num_coordinates"] == 3
    with pytest.raises(ValueError, match="add-or-remove-one only"):
        laplace(2, num_steps=10).epsilon(1e-5, "replace-one")


def test_the_pure_steps_distribution_is_that_of_sampled_randomised_response():
    # T = 6 steps by enumeration of 2^6 outcomes, both directions; ours may only be above, by the grid.
    q, sigma, num_steps, epsilon = 0.3, 1.5, 6, 0.7
    caps = laplace(4, sigma, q, num_steps)
    likely = 1 / (1 + math.exp(-1 / sigma))
    without = np.array([1 - likely, likely])
    with_record = (1 - q) * without + q * without[::-1]

    def product(law):
        return np.array([math.prod(law[i] for i in outcome) for outcome in itertools.product((0, 1), repeat=num_steps)])

    p, r = product(with_record), product(without)
    exact = max(np.maximum(0, a - math.exp(epsilon) * b).sum() for a, b in ((p, r), (r, p)))
    found = delta(caps.event(), epsilon)
    assert exact * (1 - 1e-12) <= found <= exact * (1 + 1e-4)


def test_disjoint_records_cost_the_larger_of_the_two_sides():
    both = plan(evaluations_per_trial=3, evaluation_noise_multiplier=6.0).caps()
    split = both.model_copy(update={"disjoint": True})
    steps = SweepCaps(train_step=both.train_step).epsilon(1e-5)
    scores = epsilon(both.event().events[1], 1e-5)
    assert scores > steps  # so that the test would notice if only one side were looked at
    assert split.epsilon(1e-5) == max(steps, scores) < both.epsilon(1e-5) < steps + scores
    assert split.renyi(8.0) < both.renyi(8.0)
    cheap_scores = split.model_copy(update={"evaluation": EvaluationCap(noise_multiplier=60.0, count=1)})
    assert cheap_scores.epsilon(1e-5) == steps
    with pytest.raises(ValueError, match="Disjoint records are proven for add-or-remove-one only"):
        split.epsilon(1e-5, "replace-one")
    assert SweepCaps(train_step=both.train_step, disjoint=True).epsilon(1e-5) == steps


def test_a_disjoint_plan_is_calibrated_and_fitted_by_its_sides():
    planned = plan(evaluations_per_trial=2, evaluation_noise_multiplier=10.0, disjoint=True)
    budget = planned.caps().epsilon(1e-5)
    assert budget < planned.changed(disjoint=False).caps().epsilon(1e-5)
    assert fitting_plans(planned, budget, 1e-5).num_trials == planned.num_trials


def test_the_metric_and_the_noise_are_part_of_the_law():
    planned = plan(evaluations_per_trial=1, evaluation_noise_multiplier=9.0, evaluation_metric="confusion_matrix")
    assert planned.caps().tokens()[EVALUATION].parameters["metric"] == "confusion_matrix"
    assert planned.changed(noise="laplace").caps().tokens()[TRAIN_STEP].parameters["noise"] == "laplace"


def test_renyi_costs_add_up_and_convert_to_what_rdp_says():
    caps = plan(evaluations_per_trial=1, evaluation_noise_multiplier=9.0).caps()
    orders = (2.0, 8.0, 30.0)
    converted = from_renyi(orders, [caps.renyi(order) for order in orders], 1e-5)
    assert converted >= rdp_epsilon(caps.event(), 1e-5) >= caps.epsilon(1e-5)
    assert caps.renyi(8.0, "replace-one") == math.inf
    for order in (1.0, 0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match="finite and above 1"):
            caps.renyi(order)
