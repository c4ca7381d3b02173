"""Calibration returns the smallest certified noise multiplier, for the settings of the papers."""

from __future__ import annotations

import math
from typing import Any

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.privacy.accountant.accountant import epsilon
from orchestrator.privacy.accountant.bounds import pure_epsilon, quick_epsilon
from orchestrator.privacy.accountant.calibration import SMALLEST_NOISE_MULTIPLIER, smallest_that_fits
from orchestrator.privacy.accountant.events import read
from orchestrator.privacy.errors import BudgetExceeded


def steps(sampling_prob, num_steps, kind: Any = dp.GaussianDpEvent) -> Any:
    return lambda sigma: dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(sampling_prob, kind(sigma)), num_steps)


def calibrate(make_event, budget, delta, adjacency: Any = "add-or-remove-one") -> float:
    def bound(sigma: float) -> float:
        releases = read(make_event(sigma / 2 if adjacency == "replace-one" else sigma))
        return quick_epsilon(releases, delta) if delta else pure_epsilon(releases)

    return smallest_that_fits(lambda sigma: epsilon(make_event(sigma), delta, adjacency), bound, budget, delta)


def assert_smallest(make_event, budget, delta, found, adjacency: Any = "add-or-remove-one"):
    assert epsilon(make_event(found), delta, adjacency) <= budget
    assert epsilon(make_event(found / 1.0011), delta, adjacency) > budget


# q, T, ε, σ of a table on a coarser grid, and the σ that bisection to 1e-5 finds on the fine one (0–0.35 % smaller)
@pytest.mark.parametrize(
    ("q", "num_steps", "budget", "table", "exact"),
    [
        (1 / 16, 10_000, 2.0, 12.54, 12.49689),
        (1 / 16, 10_000, 6.0, 4.840, 4.83652),
        (0.0416, 1_000, 2.0, 2.767, 2.76305),
        (0.0416, 1_000, 6.0, 1.247, 1.24461),
        (0.064, 1_000, 2.0, 4.148, 4.14339),
        (0.0208, 500, 2.0, 1.2149, 1.21488),
    ],
)
def test_golden_gaussian(q, num_steps, budget, table, exact):
    found = calibrate(steps(q, num_steps), budget, 1e-5)
    assert exact * (1 - 1e-5) <= found <= exact * 1.0011
    assert found == pytest.approx(table, rel=4e-3)
    assert_smallest(steps(q, num_steps), budget, 1e-5, found)


# pure ε in closed form: q, T, ε, σ = b/C, its last digit
@pytest.mark.parametrize(
    ("q", "num_steps", "budget", "sigma", "digit"),
    [
        (0.016, 1_000, 1.0, 16.49, 0.01),
        (0.016, 1_000, 4.0, 4.47, 0.01),
        (0.016, 1_000, 10.0, 2.05, 0.01),
        (0.016, 5_000, 4.0, 20.5, 0.1),
        (0.064, 1_000, 4.0, 16.5, 0.1),
    ],
)
def test_golden_pure_laplace(q, num_steps, budget, sigma, digit):
    exact = 1 / math.log1p(math.expm1(budget / num_steps) / q)
    assert exact == pytest.approx(sigma, abs=digit / 2)
    found = calibrate(steps(q, num_steps, dp.LaplaceDpEvent), budget, 0.0)
    assert exact * (1 - 1e-9) <= found <= exact * 1.001


@settings(max_examples=4, deadline=None)
@given(st.floats(0.5, 4.0), st.floats(0.02, 0.3), st.integers(50, 2_000))
def test_the_result_is_certified_and_0_1_percent_less_noise_is_not(budget, q, num_steps):
    q = max(q, budget / 20)  # keeps σ large and the test quick
    found = calibrate(steps(q, num_steps), budget, 1e-6)
    assert_smallest(steps(q, num_steps), budget, 1e-6, found)


def test_a_fixed_part_shares_the_budget():
    evaluations = dp.SelfComposedDpEvent(dp.GaussianDpEvent(20.0), 60)

    def sweep(sigma):
        return dp.ComposedDpEvent([steps(0.05, 1_000)(sigma), evaluations])

    alone = calibrate(steps(0.05, 1_000), 2.0, 1e-5)
    found = calibrate(sweep, 2.0, 1e-5)
    assert found > 1.05 * alone
    assert_smallest(sweep, 2.0, 1e-5, found)


def test_a_fixed_part_that_only_the_finer_accountant_lets_through():
    # Rényi bounds put the fixed part alone above the budget; PLD leaves room for the steps.
    fixed = dp.GaussianDpEvent(5.0)
    budget = epsilon(fixed, 1e-5) * 1.002

    def sweep(sigma):
        return dp.ComposedDpEvent([steps(0.1, 10)(sigma), fixed])

    found = calibrate(sweep, budget, 1e-5)
    assert_smallest(sweep, budget, 1e-5, found)


def test_replace_one_wants_more_noise():
    once = calibrate(steps(0.2, 100), 2.0, 1e-5)
    twice = calibrate(steps(0.2, 100), 2.0, 1e-5, "replace-one")
    assert 1.2 * once < twice <= 2.1 * once
    assert_smallest(steps(0.2, 100), 2.0, 1e-5, twice, "replace-one")


def test_a_budget_that_no_noise_reaches_is_refused():
    def sweep(sigma):
        return dp.ComposedDpEvent([steps(0.05, 100)(sigma), dp.GaussianDpEvent(0.5)])

    with pytest.raises(BudgetExceeded, match="No noise multiplier up to 1e") as refusal:
        calibrate(sweep, 2.0, 1e-5)
    assert refusal.value.left == 2.0
    assert refusal.value.asked > 2.0
    with pytest.raises(BudgetExceeded):
        calibrate(steps(0.05, 100), 2.0, 0.0)  # a Gaussian has no pure ε


def test_any_noise_will_do_for_a_boundless_budget():
    assert calibrate(steps(0.05, 1), 1e9, 1e-5) == SMALLEST_NOISE_MULTIPLIER


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf])
def test_budgets_out_of_range_are_refused(budget):
    with pytest.raises(ValueError, match="finite and above 0"):
        calibrate(steps(0.1, 10), budget, 1e-5)
