"""A refused plan comes with plans that fit, and they do."""

from __future__ import annotations

import pickle
import re

import pytest

from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.rules.fitting import fitting_plans, require_fits
from orchestrator.privacy.rules.planned_sweep import PlannedSweep

PLAN = PlannedSweep(
    num_trials=12,
    steps_per_trial=300,
    sampling_prob=0.1,
    noise_multiplier=3.0,
    spare_steps=30,
    evaluations_per_trial=2,
    evaluation_noise_multiplier=20.0,
)
DELTA = 1e-5


def cost(**changes):
    return PLAN.changed(**changes).caps().epsilon(DELTA)


def test_a_plan_that_fits_is_certified():
    spent = cost()
    assert require_fits(PLAN, spent, DELTA).epsilon == spent
    assert require_fits(PLAN, 100.0, DELTA).epsilon == spent


def test_a_refusal_shows_the_arithmetic_and_what_fits():
    with pytest.raises(BudgetExceeded) as refusal:
        require_fits(PLAN, 8.0, DELTA)
    error = refusal.value
    assert error.asked == cost() > error.left == 8.0
    assert error.spent == 0.0
    assert "\n" not in str(error)
    found = re.fullmatch(
        r"12 trials × 300 steps at noise multiplier 3 with 30 spare steps and 24 private evaluations at noise "
        r"multiplier 20 cost ε = ([\d.]+) at δ = 1e-05, over the budget of 8\. What fits: (\d+) trials × 300 steps, or "
        r"12 trials × (\d+) steps, or noise multiplier ≥ ([\d.]+)\.",
        str(error),
    )
    assert found
    shown, num_trials, num_steps, sigma = found.groups()
    assert error.asked <= float(shown) <= error.asked * 1.01
    assert cost(num_trials=int(num_trials)) <= 8.0 < cost(num_trials=int(num_trials) + 1)
    assert cost(steps_per_trial=int(num_steps)) <= 8.0 < cost(steps_per_trial=int(num_steps) + 1)
    assert cost(noise_multiplier=float(sigma)) <= 8.0 < cost(noise_multiplier=float(sigma) / 1.012)


def test_a_refusal_survives_pickling():
    error = pickle.loads(pickle.dumps(BudgetExceeded("too much", spent=1.0, asked=2.0, left=0.5)))
    assert (str(error), error.spent, error.asked, error.left) == ("too much", 1.0, 2.0, 0.5)
    assert not isinstance(error, ValueError)


def test_a_plan_that_fits_is_not_made_longer():
    fitting = fitting_plans(PLAN, 1.01 * cost(), DELTA)
    assert (fitting.num_trials, fitting.steps_per_trial) == (12, 300)
    assert fitting.noise_multiplier is not None
    assert 2.9 < fitting.noise_multiplier <= 3.0


def test_one_trial_is_not_told_to_run_fewer():
    single = PlannedSweep(num_trials=1, steps_per_trial=1_000, sampling_prob=0.1, noise_multiplier=2.0)
    with pytest.raises(BudgetExceeded, match=r"^1 trial × 1000 steps at noise multiplier 2 cost") as refusal:
        require_fits(single, 4.0, DELTA)
    assert re.search(r"What fits: 1 trial × \d+ steps, or noise multiplier ≥ ", str(refusal.value))


def test_nothing_fits_where_the_fixed_part_alone_is_too_much():
    dear = PLAN.changed(spare_evaluations=1_000)
    fitting = fitting_plans(dear, 1.0, DELTA)
    assert (fitting.num_trials, fitting.steps_per_trial, fitting.noise_multiplier) == (None, None, None)
    with pytest.raises(BudgetExceeded, match="spend less on evaluations and spare steps"):
        require_fits(dear, 1.0, DELTA)


def test_replace_one_fits_less():
    small = PlannedSweep(num_trials=4, steps_per_trial=20, sampling_prob=0.2, noise_multiplier=6.0)
    budget = small.caps().epsilon(DELTA)
    fitting = fitting_plans(small, budget, DELTA, "replace-one")
    assert fitting.num_trials is not None
    assert fitting.num_trials < 4
    assert small.changed(num_trials=fitting.num_trials).caps().epsilon(DELTA, "replace-one") <= budget
