"""Budgets: what they may say, and sums that no rounding can stretch."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.budget import BudgetTerms, Cost, Spent, require_room, spent_of
from tests.support.ledgers import budget
from trainers.mechanism import plan


def renyi_budget(**terms):
    return budget(composition="rdp", order=8.0, renyi_limit=1.0, **terms)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"epsilon": -1.0}, "epsilon must be at least 0"),
        ({"epsilon": math.nan}, "epsilon must be at least 0"),
        ({"epsilon": math.inf}, "epsilon must be at least 0"),
        ({"delta": 1.0}, "delta must be at least 0 and below 1"),
        ({"num_units": 0}, "num_units must be a positive int"),
        ({"num_units": True}, "num_units must be a positive int"),
        ({"adjacency": "both"}, "adjacency must be one of .*; got 'both'"),
        ({"unit": "row"}, "unit must be one of .*; got 'row'"),
        ({"composition": "max"}, "composition must be one of .*; got 'max'"),
        ({"order": 8.0}, "belong to composition 'rdp'"),
        ({"composition": "rdp", "order": 8.0}, "needs epsilon, an order above 1 and a renyi_limit"),
        ({"composition": "rdp", "order": 1.0, "renyi_limit": 1.0}, "needs epsilon, an order above 1"),
        ({"composition": "rdp", "order": 8.0, "renyi_limit": math.nan}, "renyi_limit must be at least 0"),
    ],
)
def test_a_budget_that_bounds_nothing_is_refused(terms, message):
    with pytest.raises(ValueError, match=message):
        budget(**terms)


@pytest.mark.parametrize("cost", [(math.nan, 0.0), (-0.1, 0.0), (1.0, 1.0), (1.0, math.nan), (1.0, 0.0, math.inf)])
def test_a_cost_that_is_no_amount_is_refused(cost):
    with pytest.raises(ValueError, match="must be at least 0"):
        Cost(*cost)


def test_terms_are_spelled_the_same_for_equal_numbers_and_survive_json():
    whole, decimal = budget(epsilon=3, delta=0), budget(epsilon=3.0, delta=0.0)
    assert repr(whole.to_json()) == repr(decimal.to_json())
    assert BudgetTerms.from_json(whole.to_json(), None) == whole
    for cost in (Cost(math.inf, 0.0), Cost(1, 0, 2, {"rule": "caps"})):
        assert Cost.from_json(cost.to_json()) == cost


def test_the_adjacencies_are_those_of_the_mechanism():
    assert get_args(Adjacency) == get_args(plan.Adjacency)


def test_ten_times_a_tenth_fits_and_no_more():
    tenth = Cost(0.1, 1e-6)
    limit = budget(epsilon=1.0, delta=1e-5)
    require_room(limit, [tenth] * 9, tenth, "a")
    with pytest.raises(BudgetExceeded, match="asks for ε = 1e-300: of 1, 1 is reserved and 0 is left") as refusal:
        require_room(limit, [tenth] * 10, Cost(1e-300, 0.0), "a")
    assert (refusal.value.spent, refusal.value.asked, refusal.value.left) == (1.0, 1e-300, 0.0)
    with pytest.raises(BudgetExceeded, match="asks for δ = 1e-30"):
        require_room(limit, [Cost(0.0, 1e-5)], Cost(0.0, 1e-30), "a")


def test_one_ulp_too_much_is_too_much():
    """As floats, 1e16 + 1 + 1 is 1e16: a sum of floats would admit any number of small costs."""
    limit = budget(epsilon=1e16)
    with pytest.raises(BudgetExceeded):
        require_room(limit, [Cost(1e16, 0.0)], Cost(1.0, 0.0), "a")


def test_pure_budgets_have_no_room_for_any_delta():
    require_room(budget(delta=0.0), [], Cost(1.0, 0.0), "laplace")
    with pytest.raises(BudgetExceeded, match="δ"):
        require_room(budget(delta=0.0), [], Cost(1.0, 1e-9), "gaussian")


def test_a_renyi_filter_adds_divergences_at_its_order_only():
    spent = [Cost(50.0, 1e-5, renyi=0.6)]
    require_room(renyi_budget(), spent, Cost(50.0, 1e-5, renyi=0.4), "a")
    with pytest.raises(BudgetExceeded, match=r"Rényi divergence of order 8 = 0\.5: of 1, 0\.6 is reserved"):
        require_room(renyi_budget(), spent, Cost(0.1, 1e-5, renyi=0.5), "a")
    with pytest.raises(ValueError, match="the cost needs renyi"):
        require_room(renyi_budget(), spent, Cost(0.1, 1e-5), "a")


@pytest.mark.parametrize("limited", [budget(), renyi_budget()])
def test_what_is_not_private_goes_on_a_budget_without_a_limit_only(limited):
    with pytest.raises(BudgetExceeded, match="is not private") as refusal:
        require_room(limited, [], Cost(math.inf, 0.0, renyi=0.0), "mezo")
    assert (refusal.value.spent, refusal.value.asked, refusal.value.left) == (0.0, math.inf, 3.0)
    require_room(budget(epsilon=None), [Cost(9.0, 0.5)] * 9, Cost(math.inf, 0.0), "mezo")
    assert spent_of(budget(epsilon=None), [Cost(1.0, 0.0), Cost(math.inf, 0.0)]) == Spent(math.inf, 0.0, None)


@given(st.lists(st.floats(0.0, 5.0), max_size=30), st.floats(0.0, 20.0))
def test_the_float_sum_of_what_was_admitted_is_at_most_the_rounded_limit(amounts, limit):
    admitted: list[Cost] = []
    for amount in amounts:
        try:
            require_room(budget(epsilon=limit), admitted, Cost(amount, 0.0), "a")
        except BudgetExceeded:
            continue
        admitted.append(Cost(amount, 0.0))
    assert spent_of(budget(epsilon=limit), admitted).epsilon <= math.nextafter(limit, math.inf)
    assert math.fsum(cost.epsilon for cost in admitted) <= math.nextafter(limit, math.inf)
