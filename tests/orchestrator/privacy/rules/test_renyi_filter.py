"""Rule 3: adding up Rényi ε at one order is valid for parameters chosen on the way; adding up profiles is not."""

from __future__ import annotations

import inspect
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from orchestrator.privacy.accountant.bounds import ALL_ORDERS, from_renyi, renyi
from orchestrator.privacy.accountant.events import Release, Releases
from orchestrator.privacy.rules import renyi_filter
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
from orchestrator.privacy.rules.renyi_filter import UNITS, RenyiFilter, best_order, renyi_limit

DELTA = 1e-5
STEP = StepCap(sampling_prob=0.064, noise_multiplier=20.0, num_steps=10_000)
SCORE = EvaluationCap(noise_multiplier=20.0, count=10)
budgets = st.floats(0.3, 8.0)


@pytest.mark.parametrize("step", [STEP, StepCap(sampling_prob=0.016, noise_multiplier=10.0, num_steps=100_000)])
def test_it_costs_about_8_percent_over_pld_when_the_order_suits(step):
    certified = SweepCaps(train_step=step).epsilon(DELTA)
    order = best_order([step], certified * 1.08, DELTA)
    needed = from_renyi([order], [SweepCaps(train_step=step).renyi(order)], DELTA)
    assert 1.05 * certified < needed < 1.11 * certified
    filter_ = RenyiFilter(order=order, epsilon_limit=needed * 1.0001, delta=DELTA)
    assert step.num_steps <= filter_.capacity() // filter_.price(step) <= 1.001 * step.num_steps
    assert (
        from_renyi([64.0], [SweepCaps(train_step=step).renyi(64.0)], DELTA) > 1.5 * certified
    )  # an order that does not


@settings(max_examples=30, deadline=None)
@given(budgets, st.sampled_from([1e-5, 1e-8]), st.sampled_from([8.0, 16.5, 64.0]))
def test_the_limit_is_the_largest_renyi_epsilon_that_converts_within_the_budget(epsilon, delta, order):
    limit = renyi_limit(epsilon, delta, order)
    if limit > 0.01:
        assert from_renyi([order], [limit * (1 - 1e-12)], delta) <= epsilon * (1 + 1e-12)
        assert from_renyi([order], [limit * 1.001], delta) > epsilon
        filter_ = RenyiFilter(order=order, epsilon_limit=epsilon, delta=delta)
        assert filter_.epsilon(delta) <= epsilon
        assert limit - 3 / UNITS <= filter_.capacity() / UNITS <= limit


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0.5, 50.0), st.floats(0.001, 1.0), st.sampled_from([3.0, 12.5]), st.sampled_from(["gaussian", "laplace"])
)
def test_prices_are_rounded_up_and_grow_with_less_noise(sigma, q, order, noise):
    filter_ = RenyiFilter(order=order, epsilon_limit=10.0, delta=DELTA)
    step = StepCap(sampling_prob=q, noise_multiplier=sigma, num_steps=1, noise=noise)
    exact = SweepCaps(train_step=step).renyi(order)
    assert exact * UNITS < filter_.price(step) <= exact * UNITS * (1 + 1e-8) + 1
    louder = step.model_copy(update={"noise_multiplier": sigma / 1.5})
    assert filter_.price(louder) >= filter_.price(step)
    assert filter_.price(step.model_copy(update={"num_steps": 99})) == filter_.price(step)  # a price is for one


def test_everything_that_fits_the_units_is_within_the_budget():
    filter_ = RenyiFilter(order=12.0, epsilon_limit=2.0, delta=DELTA)
    num_steps = (filter_.capacity() - 10 * filter_.price(SCORE)) // filter_.price(STEP)
    caps = SweepCaps(train_step=STEP.model_copy(update={"num_steps": num_steps}), evaluation=SCORE)
    assert from_renyi([12.0], [caps.renyi(12.0)], DELTA) <= 2.0
    assert caps.epsilon(DELTA) < 2.0
    ((kind, cap),) = filter_.tokens().items()
    assert (kind, cap.count, cap.parameters["order"]) == ("renyi_units", filter_.capacity(), 12.0)


def test_its_renyi_budget_holds_at_its_order_and_below():
    filter_ = RenyiFilter(order=12.0, epsilon_limit=2.0, delta=DELTA)
    assert filter_.renyi(12.0) == filter_.renyi(2.0) == filter_.capacity() / UNITS
    assert filter_.renyi(12.1) == math.inf
    assert filter_.renyi(2.0, "replace-one") == math.inf
    assert filter_.epsilon(0.0) == math.inf
    assert filter_.epsilon(1e-8) > filter_.epsilon(DELTA) > filter_.epsilon(1e-3)
    with pytest.raises(ValueError, match="add-or-remove-one only"):
        filter_.certificate(DELTA, "replace-one")


def test_refusals():
    with pytest.raises(ValueError, match="take a higher order"):
        RenyiFilter(order=2.0, epsilon_limit=1.0, delta=DELTA)
    with pytest.raises(ValueError, match="No Rényi order has room"):
        best_order([STEP], 1e-3, DELTA)
    with pytest.raises(ValueError, match="delta must be above 0"):
        renyi_limit(1.0, 0.0, 8.0)
    for field, bad in (("order", 1.0), ("order", math.inf), ("epsilon_limit", 0.0), ("delta", 0.0), ("delta", 1.0)):
        with pytest.raises(ValueError, match=field):
            RenyiFilter.model_validate({"order": 12.0, "epsilon_limit": 2.0, "delta": DELTA} | {field: bad})


def test_the_suggested_order_lets_the_most_steps_through():
    def steps(order):
        limit = renyi_limit(2.0, DELTA, order)
        return 0 if limit <= 1e-9 else limit / SweepCaps(train_step=STEP).renyi(order)

    best = best_order([STEP], 2.0, DELTA)
    assert steps(best) == max(steps(order) for order in ALL_ORDERS)


def test_profiles_of_what_was_chosen_on_the_way_are_no_certificate():
    """Both realised compositions are (1, δ)-DP, and what really happens is not; a Rényi budget says so.

    First randomised response; then, by its answer, one of two releases. A second randomised response spends all its δ
    after the plus answer, and it is chosen there. A Gaussian with little noise on a small sample spends its δ after
    either answer alike, and is chosen after the minus answer, beside what was spent already.
    """
    first, limit, delta, sigma = 0.4, 1.0, 1e-3, 0.2
    plus, minus = 1 / (1 + math.exp(-first)), 1 / (1 + math.exp(first))

    def response(epsilon, second):
        return max(0.0, (math.exp(second) - math.exp(epsilon)) / (1 + math.exp(second)))

    def sampled(epsilon, q):
        at = sigma * sigma * math.log1p(math.expm1(epsilon) / q) + 0.5
        return q * norm.sf((at - 1) / sigma) - (math.expm1(epsilon) + q) * norm.sf(at / sigma)

    def realised(profile, parameter):
        return plus * profile(limit - first, parameter), minus * profile(limit + first, parameter)

    second = brentq(lambda x: sum(realised(response, x)) - delta, 0.1, 5.0)
    q = brentq(lambda x: sum(realised(sampled, x)) - delta, 1e-5, 0.5)
    true = realised(response, second)[0] + realised(sampled, q)[1]
    assert true > 1.3 * delta  # at ε = 1, where each realised composition has δ
    order = 12.0
    first_cost, *then = (
        renyi(Releases(((release, 1),), True), [order])[0]
        for release in (
            Release("pure", 1.0, 1 / first),
            Release("pure", 1.0, 1 / second),
            Release("gaussian", q, sigma),
        )
    )
    assert from_renyi([order], [first_cost + max(then)], delta) > limit


def test_no_function_here_certifies_parameters_chosen_on_the_way_by_their_distribution():
    source = inspect.getsource(renyi_filter)
    assert "loss_distribution" not in source
    assert "accountant.certif" not in source
    with pytest.raises(ValueError, match="Extra inputs"):
        SweepCaps.model_validate({"train_step": STEP.model_dump(), "train_step_2": STEP.model_dump()})
