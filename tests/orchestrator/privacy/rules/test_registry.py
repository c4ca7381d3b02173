"""What all rules have in common: JSON and back, growth, independence of order, refusals."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.privacy.accountant.bounds import from_renyi
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.registry import rule_from_json
from orchestrator.privacy.rules.renyi_filter import RenyiFilter
from orchestrator.privacy.rules.repetitions import Repetitions

DELTA = 1e-5
CAPS = SweepCaps(
    train_step=StepCap(sampling_prob=0.1, noise_multiplier=5.0, num_steps=40),
    evaluation=EvaluationCap(noise_multiplier=20.0, count=2, metric="confusion_matrix"),
)
OTHER = SweepCaps(train_step=StepCap(sampling_prob=0.3, noise_multiplier=9.0, num_steps=20, noise="laplace"))
RULES = [
    CAPS,
    CAPS.model_copy(update={"disjoint": True}),
    OTHER,
    Menu(entries=(CAPS, OTHER), num_trials=3),
    RenyiFilter(order=10.3, epsilon_limit=2.5, delta=DELTA),
    BestOf(trial=CAPS, number=Repetitions(law="negative-binomial", mean=4.0, shape=0.3)),
    BestOf(trial=OTHER, number=Repetitions(law="poisson", mean=4.0)),
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)


@every_rule
def test_json_and_back_is_the_same_rule_with_the_same_epsilon_to_the_last_bit(rule):
    text = json.dumps(rule.to_json(), allow_nan=False)
    again = rule_from_json(json.loads(text))
    assert again == rule
    assert type(again) is type(rule)
    assert json.dumps(again.to_json()) == text
    assert again.epsilon(DELTA) == rule.epsilon(DELTA)
    assert again.tokens() == rule.tokens()


@every_rule
def test_every_rule_says_what_it_reserves_and_describes_itself_in_one_sentence(rule):
    tokens = rule.tokens()
    assert tokens
    for cap in tokens.values():
        assert cap.count >= 1
        json.dumps(dict(cap.parameters), allow_nan=False)
    assert all(cap.per_holder is None or cap.per_holder <= cap.count for cap in tokens.values())
    assert set(rule.shown_caps()) <= set(tokens)
    assert rule.max_holders is None or rule.max_holders >= 1
    assert rule.describe().endswith(".")
    assert ". " not in rule.describe()
    assert "\n" not in rule.describe()


@every_rule
def test_epsilon_falls_as_delta_grows_and_renyi_rises_with_the_order(rule):
    values = [rule.epsilon(delta) for delta in (1e-9, 1e-5, 1e-2)]
    assert values == sorted(values, reverse=True)
    assert 0 <= values[-1] < values[0] < math.inf
    orders = [1.5, 4.0, 10.3]
    curve = [rule.renyi(order) for order in orders]
    assert curve == sorted(curve)
    assert rule.epsilon(0.0) >= values[0]


@every_rule
def test_the_renyi_costs_certify_too_and_are_not_below_the_certificate(rule):
    orders = (2.5, 5.0, 7.5, 10.3, 20.0, 40.0)
    converted = from_renyi(orders, [rule.renyi(order) for order in orders], DELTA)
    assert converted >= rule.epsilon(DELTA) - 1e-3


@every_rule
def test_the_bound_is_not_below_the_certificate(rule):
    for delta in (1e-9, DELTA):
        assert rule.bound(delta) >= rule.epsilon(delta) * (1 - 1e-3)
    assert rule.bound(0.0) >= rule.epsilon(0.0)


@every_rule
def test_tokens_are_taken_over_only_where_each_is_charged_on_its_own(rule):
    assert rule.without({}) == rule
    if rule.reuses_tokens:
        assert rule.without({"train_step": 10}).tokens()["train_step"].count == rule.tokens()["train_step"].count - 10
    else:
        with pytest.raises(ValueError, match="can take over none"):
            rule.without({"train_step": 1})


@every_rule
@pytest.mark.parametrize("delta", [-1e-5, 1.0, math.nan, 1e-13])
def test_deltas_out_of_range_are_refused(rule, delta):
    with pytest.raises(ValueError, match="delta must be"):
        rule.certificate(delta)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rule": "everything"}, "rule"),
        ({"rule": None}, "rule"),
        ({"momentum": 0.9}, "momentum"),
        ({"train_step": None}, "train_step"),
    ],
    ids=str,
)
def test_what_is_no_rule_is_refused(change, match):
    with pytest.raises(ValueError, match=match):
        rule_from_json(CAPS.to_json() | change)
    with pytest.raises(ValueError, match="rule"):
        rule_from_json({})


def caps(q, sigma, num_steps, noise, num_scores=2):
    return SweepCaps(
        train_step=StepCap(
            sampling_prob=q, noise_multiplier=sigma, num_steps=num_steps, noise=noise, num_coordinates=3
        ),
        evaluation=EvaluationCap(noise_multiplier=15.0, count=num_scores),
    )


def as_menu(trial, number):
    return Menu(entries=(trial, CAPS), num_trials=number)


def as_best(trial, number):
    return BestOf(trial=trial, number=Repetitions(mean=float(number)))


@settings(max_examples=5, deadline=None)
@given(
    st.sampled_from([as_menu, as_best]),
    st.floats(0.02, 0.3),
    st.floats(3.0, 12.0),
    st.integers(5, 60),
    st.sampled_from(["gaussian", "laplace"]),
    st.integers(1, 5),
)
def test_more_of_anything_never_costs_less(make, q, sigma, num_steps, noise, number):
    base = make(caps(q, sigma, num_steps, noise), number)
    slack = 1e-6
    for changed in (
        make(caps(q * 1.5, sigma, num_steps, noise), number),
        make(caps(q, sigma / 1.5, num_steps, noise), number),
        make(caps(q, sigma, num_steps + 5, noise), number),
        make(caps(q, sigma, num_steps, noise, num_scores=3), number),
        make(caps(q, sigma, num_steps, noise), number + 1),
    ):
        assert changed.epsilon(DELTA) >= base.epsilon(DELTA) - slack
        assert changed.renyi(6.0) >= base.renyi(6.0) * (1 - 1e-9)
