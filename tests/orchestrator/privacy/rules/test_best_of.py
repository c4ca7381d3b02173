"""Rule 4: the published numbers, and that what is said is never below what the best of K really costs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from orchestrator.privacy.rules import best_of
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
from orchestrator.privacy.rules.repetitions import Repetitions
from tests.support.accounting import delta

DELTA = 1e-5
BASE = SweepCaps(train_step=StepCap(sampling_prob=0.064, noise_multiplier=20.0, num_steps=10_000))
LAWS = [
    Repetitions(law="geometric", mean=10.0),
    Repetitions(law="logarithmic", mean=10.0),
    Repetitions(law="poisson", mean=10.0),
    Repetitions(law="negative-binomial", mean=10.0, shape=0.4),
]


def name(number):
    return number.law


def one_step(sigma, noise="gaussian"):
    return SweepCaps(train_step=StepCap(sampling_prob=1.0, noise_multiplier=sigma, num_steps=1, noise=noise))


# base run ε 1.217, mean 10: by profile, by RDP; composing ten would be 4.44
@pytest.mark.parametrize(
    ("law", "profile", "rdp"), [("geometric", 2.40, 2.77), ("logarithmic", 2.08, 2.30), ("poisson", 2.66, 3.06)]
)
def test_golden_rule_four(law, profile, rdp):
    search = BestOf(trial=BASE, number=Repetitions(law=law, mean=10.0))
    assert BASE.epsilon(DELTA) == pytest.approx(1.217, abs=5e-4)
    assert search.epsilon(DELTA) == pytest.approx(profile, abs=0.005)
    assert search._by_renyi(DELTA).epsilon == pytest.approx(rdp, abs=0.005)
    assert search.certificate(DELTA).method == "private selection by the base run's PLD"
    ten = SweepCaps(train_step=BASE.train_step.model_copy(update={"num_steps": 100_000}))
    assert ten.epsilon(DELTA) == pytest.approx(4.44, abs=0.005)


@pytest.mark.parametrize("number", LAWS, ids=name)
def test_the_renyi_form_is_the_librarys(number):
    library = RdpAccountant()
    library.compose(dp_event.RepeatAndSelectDpEvent(BASE.event(), number.mean, number.eta))
    assert BestOf(trial=BASE, number=number)._by_renyi(DELTA).epsilon == pytest.approx(
        library.get_epsilon(DELTA), rel=1e-3
    )


def derivative(number, x):
    """f′(x) for f(x) = E[x^K]."""
    if number.law == "poisson":
        return number.mean * np.exp(number.mean * (x - 1))
    return number.mean * (number.gamma / (1 - (1 - number.gamma) * x)) ** (number.eta + 1)


def exact_delta(number, epsilon, laws, ascending):
    """δ at ε of the best of K, by summing over outcomes; `laws` are the base run's masses with and without the record.

    Outcomes are in order of score; a mass splits its atom evenly between worse and better ones (ties by a coin).
    """
    best = []
    for masses in laws:
        ordered = masses if ascending else masses[::-1]
        up_to = np.cumsum(ordered)
        nodes = [up_to - ordered * share for share in (np.arange(20) + 0.5) / 20]
        best.append(ordered * np.mean([derivative(number, node) for node in nodes], axis=0))
    return max(np.maximum(0, a - math.exp(epsilon) * b).sum() for a, b in itertools.permutations(best))


def gaussian_masses(sigma):
    edges = np.linspace(-8 * sigma, 1 + 8 * sigma, 20_001)
    return tuple(np.diff(norm.cdf(edges, loc=at, scale=sigma)) for at in (1.0, 0.0))


@pytest.mark.parametrize("number", LAWS, ids=name)
@pytest.mark.parametrize("sigma", [1.5, 4.0])
def test_the_certificate_is_above_the_exact_privacy_of_the_best_gaussian_and_not_absurdly(number, sigma):
    # The score is the released number itself: best is largest, or best is smallest.
    laws = gaussian_masses(sigma)
    said = BestOf(trial=one_step(sigma), number=number).epsilon(DELTA)
    worst = max(exact_delta(number, said, laws, ascending) for ascending in (True, False))
    assert worst <= DELTA
    exact = max(
        brentq(lambda e, up=up: exact_delta(number, e, laws, up) - DELTA, 0.0, said + 1e-9) for up in (True, False)
    )
    base = one_step(sigma).epsilon(DELTA)
    assert base < exact <= said < 2.2 * exact


@pytest.mark.parametrize("number", LAWS, ids=name)
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
def test_pure_selection_is_above_the_exact_privacy_of_the_best_randomised_response(number, epsilon):
    likely = 1 / (1 + math.exp(-epsilon))
    laws = np.array([likely, 1 - likely]), np.array([1 - likely, likely])
    search = BestOf(trial=one_step(1 / epsilon, "laplace"), number=number)
    said = search.epsilon(0.0)
    for ascending in (True, False):
        assert exact_delta(number, said, laws, ascending) <= 1e-15
    if number.law == "poisson":
        assert said == pytest.approx(epsilon + 10 * math.tanh(epsilon / 2))
    else:
        assert said == pytest.approx((2 + number.eta) * epsilon)
    # The wrong law: not the base run's ε, whatever the search.
    assert max(exact_delta(number, epsilon, laws, up) for up in (True, False)) > 1e-3


def test_a_fixed_number_is_not_a_random_one():
    # Best of ten by "is it 0?": P(none is 0) is p^10 against (1 − p)^10, ten times ε. A geometric number costs three.
    epsilon = 0.5
    p = 1 / (1 + math.exp(-epsilon))
    fixed = 10 * math.log(p / (1 - p))
    said = BestOf(trial=one_step(1 / epsilon, "laplace"), number=Repetitions(mean=10.0)).epsilon(0.0)
    assert fixed == pytest.approx(10 * epsilon)
    assert said == pytest.approx(3 * epsilon)


def test_charging_what_was_realised_gives_another_number():
    said = BestOf(trial=BASE, number=Repetitions(mean=10.0)).epsilon(DELTA)
    for realised in (1, 3, 10):
        steps = BASE.train_step.model_copy(update={"num_steps": realised * 10_000})
        assert SweepCaps(train_step=steps).epsilon(DELTA) != pytest.approx(said, rel=0.05)


@pytest.mark.parametrize("number", LAWS, ids=name)
def test_every_choice_of_the_penalty_is_valid_and_the_search_finds_the_least(number):
    event = BASE.event()

    def profile(epsilon):
        return delta(event, epsilon)

    found = best_of._penalty(number, profile, 1.7)
    if number.law == "poisson":
        grid = [number.mean * (math.expm1(x) + profile(x)) for x in np.linspace(0, 1, 51)]
    else:
        odds = (1 - number.gamma) / number.gamma
        grid = [(number.eta + 1) * math.log(math.exp(x) + odds * profile(x)) for x in np.linspace(0, 2.5, 126)]
    assert min(grid) * 0.999 <= found <= min(grid) + 1e-9


@settings(max_examples=4, deadline=None)
@given(st.sampled_from(LAWS), st.floats(3.0, 9.0), st.floats(0.05, 0.5), st.integers(5, 60), st.floats(1.1, 2.0))
def test_it_grows_with_the_mean_and_with_what_a_trial_releases(number, sigma, q, num_steps, factor):
    def cost(number=number, sigma=sigma, q=q, num_steps=num_steps):
        step = StepCap(sampling_prob=q, noise_multiplier=sigma, num_steps=num_steps)
        return BestOf(trial=SweepCaps(train_step=step), number=number).epsilon(DELTA)

    base, slack = cost(), 1e-6
    assert cost(number.model_copy(update={"mean": number.mean * factor})) >= base - slack
    assert cost(sigma=sigma / factor) >= base - slack
    assert cost(q=q * factor) >= base - slack
    assert cost(num_steps=math.ceil(num_steps * factor)) >= base - slack


def test_one_candidate_costs_its_own_epsilon():
    for law in ("geometric", "logarithmic"):
        search = BestOf(trial=BASE, number=Repetitions(law=law, mean=1.0))
        assert search.epsilon(DELTA) == pytest.approx(BASE.epsilon(DELTA), rel=1e-9)
        assert search.renyi(8.0) == pytest.approx(BASE.renyi(8.0), rel=1e-9)


def test_the_smaller_theorem_counts():
    for sigma in (0.6, 4.0):
        search = BestOf(trial=one_step(sigma), number=LAWS[0])
        profile = search._by_profile(DELTA, "add-or-remove-one")
        assert profile is not None
        assert search.epsilon(DELTA) == min(profile.epsilon, search._by_renyi(DELTA).epsilon)
        assert search.bound(DELTA) >= search.epsilon(DELTA)


def test_without_a_grid_rdp_certifies_alone():
    step = StepCap(sampling_prob=0.5, noise_multiplier=0.05, num_steps=100)
    search = BestOf(trial=SweepCaps(train_step=step), number=LAWS[0])
    assert search.certificate(DELTA).method == "private selection by RDP"
    assert search.certificate(DELTA).epsilon < search.certificate(DELTA, "replace-one").epsilon < math.inf


def test_replace_one_costs_more():
    search = BestOf(trial=one_step(6.0), number=LAWS[0])
    assert search.epsilon(DELTA, "replace-one") > 1.5 * search.epsilon(DELTA)
    assert search.renyi(8.0, "replace-one") == math.inf


def test_a_gaussian_trial_has_no_pure_epsilon():
    assert BestOf(trial=BASE, number=LAWS[0]).epsilon(0.0) == math.inf


def test_noisy_scores_are_part_of_the_candidate():
    scored = BASE.model_copy(update={"evaluation": EvaluationCap(noise_multiplier=20.0, count=2)})
    number = LAWS[0]
    assert BestOf(trial=scored, number=number).epsilon(DELTA) > BestOf(trial=BASE, number=number).epsilon(DELTA)
    split = BestOf(trial=scored.model_copy(update={"disjoint": True}), number=number)
    assert split.epsilon(DELTA) == BestOf(trial=BASE, number=number).epsilon(DELTA)


def test_tokens_tell_nothing_about_the_number_drawn():
    search = BestOf(trial=BASE, number=LAWS[0])
    assert search.tokens()["train_step"].per_holder == search.shown_caps()["train_step"] == 10_000
    assert search.max_holders == search.number.largest
    assert search.tokens()["train_step"].count == 10_000 * search.number.largest
    assert "geometric law of mean 10 and kept secret" in search.describe()
