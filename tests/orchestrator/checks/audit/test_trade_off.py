"""The statistics of an audit against closed forms, and on simulated runs that keep a claim or break it.

Simulations are seeded: they pass always, or never.
"""

import math

import dp_accounting as dp
import numpy as np
import pytest
from scipy import stats

from orchestrator.checks.audit.step_law import StepLaw
from orchestrator.checks.audit.trade_off import TradeOff, claimed_trade_off, clopper_pearson, judge, power, rates

ALPHAS = np.array([0.001, 0.01, 0.1, 0.3, 0.5, 0.9])


def sampled(noise_multiplier, sampling_prob, num_steps, kind=dp.GaussianDpEvent):
    event = dp.PoissonSampledDpEvent(sampling_prob, kind(noise_multiplier))
    return dp.SelfComposedDpEvent(event, num_steps)


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_the_curve_of_gaussian_noise_is_the_closed_form(mu):
    """f(α) = Φ(Φ⁻¹(1 − α) − μ); never above it, so that the claim accuses nobody wrongly."""
    claim = claimed_trade_off(dp.SelfComposedDpEvent(dp.GaussianDpEvent(2.0 / mu), 4))
    expected = stats.norm.cdf(stats.norm.ppf(1 - ALPHAS) - mu)
    found = claim(ALPHAS)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert (found <= expected + 1e-9).all()


def test_the_curve_of_one_epsilon_is_two_lines():
    claim = TradeOff((math.log(3.0),), (0.1,))
    np.testing.assert_allclose(claim(np.array([0.0, 0.1, 0.225, 0.9, 1.0])), [0.9, 0.6, 0.225, 0.0, 0.0], atol=1e-12)


def test_the_curve_bounds_every_test_of_sampled_gaussian_noise():
    """q = 1/2, one step: the Neyman-Pearson test in closed form, for adding the example and for removing it."""
    claim = claimed_trade_off(sampled(1.0, 0.5, 1))
    t = np.linspace(-3, 4, 50)
    alone, mixed = stats.norm.sf(t), 0.5 * stats.norm.sf(t) + 0.5 * stats.norm.sf(t - 1)
    for fpr, fnr in ((alone, 1 - mixed), (1 - mixed, alone)):
        assert (claim(fpr) <= fnr + 1e-6).all()
        assert np.abs(claim(fpr) - fnr).min() < 2e-3


def test_an_event_without_privacy_claims_nothing():
    with pytest.raises(ValueError, match="has no claim to audit"):
        claimed_trade_off(dp.NonPrivateDpEvent())


def test_clopper_pearson_in_closed_form():
    """At the ends: none of n seen, rate at most 1 − tail^{1/n}; and between, the binomial tail is the tail."""
    lower, upper = clopper_pearson(np.array([0, 7, 50]), 50, 0.01)
    assert (lower[0], upper[2]) == (0.0, 1.0)
    assert upper[0] == pytest.approx(1 - 0.01 ** (1 / 50))
    assert lower[2] == pytest.approx(0.01 ** (1 / 50))
    assert stats.binom.cdf(7, 50, upper[1]) == pytest.approx(0.01)
    assert stats.binom.sf(6, 50, lower[1]) == pytest.approx(0.01)


def test_rates_count_scores_above_the_threshold():
    found = rates(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0]), np.array([-1.0, 2.0, 9.0]))
    np.testing.assert_array_equal(found.fpr, [1.0, 0.25, 0.0])
    np.testing.assert_array_equal(found.fnr, [0.0, 0.5, 1.0])


CLAIMS = {
    "the issue's": (StepLaw("gaussian", 0.25, 2.0), 100, dp.GaussianDpEvent),
    "the audit's own": (StepLaw("gaussian", 0.5, 1.0), 10, dp.GaussianDpEvent),
    "laplace": (StepLaw("laplace", 0.5, 1.0), 10, dp.LaplaceDpEvent),
}


@pytest.fixture(scope="module", params=CLAIMS)
def claim_of(request):
    law, steps, kind = CLAIMS[request.param]
    return law, steps, claimed_trade_off(sampled(law.noise_multiplier, law.sampling_prob, steps, kind))


def scores(truth, law, steps, runs, *, shift=1.0):
    """Scores by the claimed law of runs that follow another one, or whose canary moves the sum by `shift`."""
    generator = np.random.default_rng(7)
    draw = {"gaussian": generator.normal, "laplace": generator.laplace}[law.noise]
    worlds = []
    for present in (False, True):
        noise = draw(0, truth.noise_multiplier, (runs, steps))
        drawn = (generator.random((runs, steps)) < truth.sampling_prob) * shift * present
        worlds.append(law.score((noise + drawn)[..., None], np.ones(1)))
    return worlds


def test_five_thousand_runs_find_each_mistake_and_no_other(claim_of):
    law, steps, claim = claim_of
    rate, sigma = law.sampling_prob, law.noise_multiplier
    truths = {
        "none": scores(law, law, steps, 5000),
        "noise × 0.8": scores(StepLaw(law.noise, rate, 0.8 * sigma), law, steps, 5000),
        "sensitivity × 2": scores(law, law, steps, 5000, shift=2.0),
        "q × 2": scores(StepLaw(law.noise, 2 * rate, sigma), law, steps, 5000),
    }
    found = {name: judge(*worlds, claim, 1e-5) for name, worlds in truths.items()}
    assert {name for name, verdict in found.items() if verdict.violation} == truths.keys() - {"none"}
    assert all(verdict.violation == (verdict.margin > 0) for verdict in found.values())


def test_power_is_the_share_of_audits_that_find_it(claim_of):
    law, steps, claim = claim_of
    found = [power(law, steps, claim, 2000, noise_factor=factor, tries=20) for factor in (1.0, 0.9, 0.7)]
    assert found[0] == 0.0
    assert found[2] == 1.0
    assert found[0] <= found[1] <= found[2]


def test_the_lower_bound_stays_below_the_claim_and_grows_with_the_leak():
    law, steps, claim = StepLaw("gaussian", 1.0, 1.0), 1, TradeOff((1.0,), (0.0,))
    quiet, loud = (judge(*scores(law, law, steps, 4000, shift=shift), claim, 1e-5) for shift in (1.0, 4.0))
    assert 0 < quiet.epsilon_lower < 4.4  # ε of one Gaussian of σ 1 at δ = 1e-5
    assert loud.epsilon_lower > quiet.epsilon_lower


def test_thresholds_are_not_judged_on_the_runs_that_chose_them():
    """Scores that tell the worlds apart in the first half alone are no violation."""
    half = np.zeros(500)
    verdict = judge(np.concatenate([half, half]), np.concatenate([half + 1, half]), TradeOff((0.0,), (0.0,)), 0.0)
    assert not verdict.violation
    assert verdict.epsilon_lower == 0.0


def test_too_few_runs_are_refused():
    with pytest.raises(ValueError, match="at least 4 runs"):
        judge(np.zeros(3), np.zeros(3), TradeOff((1.0,), (0.0,)), 1e-5)
