"""The accountant against computed numbers, closed forms, and its own laws."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.privacy.accountant import accountant, distribution
from orchestrator.privacy.accountant.accountant import epsilon
from orchestrator.privacy.accountant.bounds import pure_epsilon, quick_epsilon
from orchestrator.privacy.accountant.events import read
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.fitting import calibrate
from orchestrator.privacy.rules.laws import StepCap
from tests.support.accounting import certificate, delta, exact_delta, rdp_epsilon

few = settings(max_examples=5, deadline=None)


def steps(noise_multiplier, sampling_prob, num_steps, kind: Any = dp.GaussianDpEvent) -> Any:
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(sampling_prob, kind(noise_multiplier)), num_steps)


# computed with dp-accounting 0.6.0: σ, q, T, ε by PLD, ε by RDP, at δ = 1e-5
@pytest.mark.parametrize(
    ("sigma", "q", "num_steps", "pld", "rdp"),
    [
        (1.0, 0.01, 1_000, 1.828, 2.101),
        (4.0, 0.064, 10_000, 7.7905, 8.3843),
        (5.0, 0.016, 75_000, 3.8081, 4.1187),
        (20.0, 0.016, 100_000, 0.9407, 1.0269),
    ],
)
def test_golden_gaussian(sigma, q, num_steps, pld, rdp):
    event = steps(sigma, q, num_steps)
    assert epsilon(event, 1e-5) == pytest.approx(pld, rel=1e-3)
    assert rdp_epsilon(event, 1e-5) == pytest.approx(rdp, rel=1e-3)


# computed with dp-accounting 0.6.0: Laplace σ, q, T, ε by PLD at δ = 1e-5, and pure ε in closed form
@pytest.mark.parametrize(
    ("sigma", "q", "num_steps", "pld", "pure", "digit"),
    [
        (1.0, 0.01, 1_000, 1.1238, 17.04, 0.01),
        (5.0, 0.016, 75_000, 3.6361, 265, 1),
        (10.0, 0.064, 10_000, 2.5843, 67.08, 0.01),
        (20.0, 0.016, 75_000, 0.7957, 61.5, 0.1),
    ],
)
def test_golden_laplace(sigma, q, num_steps, pld, pure, digit):
    event = steps(sigma, q, num_steps, dp.LaplaceDpEvent)
    assert epsilon(event, 1e-5) == pytest.approx(pld, rel=1e-3)
    assert epsilon(event, 0.0) == pytest.approx(pure, abs=digit / 2)


# Settings of the papers: σ for a rounded ε, from a table on a coarser grid (of 1e-3 in its first two rows). On the fine
# grid ε is up to 0.4 % smaller: the exact value here, and the table's claim as an upper bound.
@pytest.mark.parametrize(
    ("q", "num_steps", "sigma", "table", "found"),
    [
        (1 / 16, 10_000, 12.54, 2.00, 1.99228),
        (1 / 16, 10_000, 4.840, 6.00, 5.99476),
        (0.0416, 1_000, 2.767, 2.00, 1.99653),
        (0.0416, 1_000, 1.247, 6.00, 5.98090),
        (0.064, 1_000, 4.148, 2.00, 1.99741),
        (0.0208, 500, 1.2149, 2.00, 1.99993),
    ],
)
def test_golden_settings_of_the_papers(q, num_steps, sigma, table, found):
    assert epsilon(steps(sigma, q, num_steps), 1e-5) == pytest.approx(found, rel=1e-4)
    assert table * 0.996 <= found <= table


@pytest.mark.parametrize(("sigma", "found"), [(12.54, 2.00), (4.840, 6.00)])
def test_the_tables_numbers_come_out_on_a_coarser_grid(monkeypatch, sigma, found):
    monkeypatch.setattr(accountant, "discretisation", lambda _: 1e-3)
    releases = read(steps(sigma, 1 / 16, 10_000))
    uncached = accountant._certify.__wrapped__(releases, 1e-5, "add-or-remove-one")
    assert uncached.epsilon == pytest.approx(found, rel=1e-3)


def test_golden_rule_one_training_and_evaluations_together():
    sweep = dp.ComposedDpEvent([steps(10.0, 0.016, 100_000), dp.SelfComposedDpEvent(dp.GaussianDpEvent(20.0), 60)])
    assert epsilon(sweep, 1e-5) == pytest.approx(2.622, rel=1e-3)
    assert rdp_epsilon(sweep, 1e-5) == pytest.approx(2.843, rel=1e-3)


def test_golden_fifty_noisy_accuracies():
    # A standard deviation of .02 on 1000 examples is a count with noise 20.
    assert epsilon(dp.SelfComposedDpEvent(dp.GaussianDpEvent(20.0), 50), 1e-5) == pytest.approx(1.36, abs=0.005)


def test_golden_replace_one_feels_half_the_noise():
    # The trap: RDP answers 2.17 here.
    assert epsilon(dp.GaussianDpEvent(2.0), 1e-5, "replace-one") == pytest.approx(4.38, abs=0.005)
    assert epsilon(steps(1.0, 0.01, 1_000), 1e-5, "replace-one") == pytest.approx(2.8434, rel=1e-3)


@pytest.mark.parametrize("event", [dp.LaplaceDpEvent(1.0), steps(5.0, 0.1, 10, dp.LaplaceDpEvent)])
@pytest.mark.parametrize("at_delta", [0.0, 1e-5])
def test_laplace_for_replace_one_is_refused(event, at_delta):
    with pytest.raises(ValueError, match="add-or-remove-one only"):
        epsilon(event, at_delta, "replace-one")


@pytest.mark.parametrize("poison", [math.nan, 1, np.float32(2.0)], ids=repr)
def test_an_event_is_read_before_it_is_accounted(poison):
    # dp-accounting's RDP answers 0 for NaN, and forgets 999 of these 1000 releases for the other two.
    inside = dp.PoissonSampledDpEvent(0.5, dp.SelfComposedDpEvent(dp.GaussianDpEvent(poison), 1_000))
    for event in (dp.GaussianDpEvent(poison), inside):
        with pytest.raises(ValueError, match="event"):
            epsilon(event, 1e-5)


@pytest.mark.parametrize("bad", [-1e-5, 1.0, 1e-13, math.nan, math.inf])
def test_deltas_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="delta must be 0"):
        epsilon(dp.GaussianDpEvent(1.0), bad)
    with pytest.raises(ValueError, match="adjacency must be one of"):
        epsilon(dp.GaussianDpEvent(1.0), 1e-5, "add-one")  # type: ignore[arg-type]


def test_nothing_and_everything():
    assert epsilon(dp.NoOpDpEvent(), 1e-5) == epsilon(dp.NoOpDpEvent(), 0.0) == 0.0
    bare = dp.ComposedDpEvent([steps(20.0, 0.01, 10), dp.NonPrivateDpEvent()])
    for at_delta in (0.0, 1e-5, 0.5):
        assert epsilon(bare, at_delta) == math.inf
    assert rdp_epsilon(bare, 1e-5) == math.inf
    assert epsilon(dp.GaussianDpEvent(1.0), 0.0) == math.inf  # a Gaussian has no pure ε


@pytest.mark.parametrize(("sigma", "count"), [(1.0, 1), (20.0, 50), (50.0, 1_000)])
def test_plain_gaussians_agree_with_the_analytic_formula(sigma, count):
    # Balle & Wang (2018), Thm 8, arXiv:1805.06530: exact; ours may only be above.
    mu, phi = math.sqrt(count) / sigma, NormalDist().cdf
    found = epsilon(dp.SelfComposedDpEvent(dp.GaussianDpEvent(sigma), count), 1e-5)
    exact_delta = phi(mu / 2 - found / mu) - math.exp(found) * phi(-mu / 2 - found / mu)
    assert exact_delta == pytest.approx(1e-5, rel=2e-3)
    assert exact_delta <= 1e-5 * (1 + 1e-6)


def test_composing_by_hand_is_what_the_librarys_accountant_does():
    event = dp.ComposedDpEvent(
        [
            steps(5.0, 0.05, 500),
            steps(6.0, 0.05, 300, dp.LaplaceDpEvent),
            dp.SelfComposedDpEvent(dp.GaussianDpEvent(20.0), 9),
        ]
    )
    library = PLDAccountant(value_discretization_interval=certificate(event, 1e-5).discretisation or 0).compose(event)
    assert epsilon(event, 1e-5) == pytest.approx(library.get_epsilon(1e-5), rel=1e-7)


def test_the_grid_is_fine_enough_for_the_faintest_step_and_shared():
    faint, coarse = steps(20.0, 0.002, 100), dp.GaussianDpEvent(20.0)
    assert certificate(coarse, 1e-5).discretisation == 1e-4
    assert certificate(faint, 1e-5).discretisation == pytest.approx(1e-5)
    assert certificate(dp.ComposedDpEvent([coarse, faint]), 1e-5).discretisation == pytest.approx(1e-5)


@pytest.mark.parametrize(
    "event",
    [
        steps(0.05, 0.016, 1_000),
        dp.GaussianDpEvent(1e-6),
        steps(0.001, 0.5, 1_000, dp.LaplaceDpEvent),
        dp.ComposedDpEvent([steps(0.1, 0.5, 10, dp.LaplaceDpEvent), steps(0.1, 0.5, 10)]),
        steps(1e9, 0.5, 10),
        steps(1.0, 1e-9, 10),
    ],
    ids=["sampled", "hardly any noise", "laplace", "both", "only noise", "hardly sampled"],
)
def test_what_does_not_fit_a_grid_is_bounded_at_once_and_says_so(event):
    found = certificate(event, 1e-5)
    assert found.method.startswith("RDP")
    assert found.discretisation is None
    assert found.epsilon == quick_epsilon(read(event), 1e-5) < math.inf
    if "Laplace" not in repr(event):
        replaced = certificate(event, 1e-5, "replace-one")
        assert replaced.method == "RDP"
        assert found.epsilon <= replaced.epsilon < math.inf


def test_gaussians_that_are_one_with_too_little_noise_for_memory_are_certified_by_rdp(monkeypatch):
    asked = []
    monkeypatch.setattr(distribution, "_step", lambda release, *_: asked.append(release))
    found = certificate(dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 10_000), 1e-5)
    assert found.method == "RDP"
    assert not asked  # its loss would have 10^8 grid points


def test_the_distributions_delta_inverts_epsilon():
    event = steps(4.0, 0.05, 300)
    assert delta(event, epsilon(event, 1e-6)) == pytest.approx(1e-6, rel=1e-3)
    assert epsilon(event, 0.999) == 0.0


counts = st.lists(st.integers(1, 5), min_size=4, max_size=4)
parts = (steps(5.0, 0.1, 2), steps(8.0, 0.1, 3, dp.LaplaceDpEvent), dp.GaussianDpEvent(10.0), dp.NoOpDpEvent())


@few
@given(counts, st.permutations(range(4)))
def test_order_and_grouping_change_nothing_not_even_the_last_bit(times, order):
    pieces: list[dp.DpEvent] = [dp.SelfComposedDpEvent(part, n) for part, n in zip(parts, times, strict=True)]
    shuffled = dp.ComposedDpEvent([pieces[i] for i in order])
    spread = dp.ComposedDpEvent([parts[i] for i in order for _ in range(times[i])])
    reference = epsilon(dp.ComposedDpEvent(pieces), 1e-5)
    assert epsilon(shuffled, 1e-5) == reference
    assert epsilon(dp.ComposedDpEvent([spread]), 1e-5) == reference


sigmas, probs, lengths = st.floats(2.0, 20.0), st.floats(0.005, 0.4), st.integers(1, 400)


@few
@given(sigmas, probs, lengths, st.floats(1.05, 2.0), st.sampled_from([dp.GaussianDpEvent, dp.LaplaceDpEvent]))
def test_epsilon_grows_with_steps_sampling_and_less_noise(sigma, q, num_steps, factor, kind):
    for at_delta in (1e-6, 0.0) if kind is dp.LaplaceDpEvent else (1e-6,):
        base = epsilon(steps(sigma, q, num_steps, kind), at_delta)
        slack = 1e-6  # of the discretised answer, in ε
        assert epsilon(steps(sigma, q, math.ceil(num_steps * factor), kind), at_delta) >= base - slack
        assert epsilon(steps(sigma, q * factor, num_steps, kind), at_delta) >= base - slack
        assert epsilon(steps(sigma / factor, q, num_steps, kind), at_delta) >= base - slack
        assert epsilon(steps(sigma, q, num_steps, kind), 1e-5) <= base


@few
@given(sigmas, probs, lengths)
def test_bounds_are_above_what_pld_certifies(sigma, q, num_steps):
    for kind in (dp.GaussianDpEvent, dp.LaplaceDpEvent):
        event = steps(sigma, q, num_steps, kind)
        both = dp.ComposedDpEvent([event, dp.GaussianDpEvent(sigma)])
        for composed in (event, both):
            found = certificate(composed, 1e-5)
            assert found.method == "PLD"
            assert quick_epsilon(read(composed), 1e-5) >= found.epsilon - 1e-3
    assert rdp_epsilon(steps(sigma, q, num_steps), 1e-5) >= epsilon(steps(sigma, q, num_steps), 1e-5) - 1e-3


# The library's own composition understates ε at 1e-12 in the first row (6.6565 for 6.70), and doubles it in the second.
@pytest.mark.parametrize(
    ("sigma", "q", "num_steps", "excess"),
    [(0.7, 0.004, 2_000, 0.02), (1.0, 0.001, 100_000, 0.15), (3.0, 0.05, 20_000, 0.05)],
)
def test_a_tiny_delta_is_neither_understated_nor_doubled(sigma, q, num_steps, excess):
    for at_delta in (1e-10, 1e-11, 1e-12):
        found = epsilon(steps(sigma, q, num_steps), at_delta)
        assert exact_delta(sigma, q, num_steps, found) <= at_delta * (1 + 1e-4)
        assert exact_delta(sigma, q, num_steps, found / (1 + excess)) >= at_delta


def test_replace_one_is_planned_down_to_little_noise():
    def cap(sigma):
        return SweepCaps(train_step=StepCap(sampling_prob=64 / 25_000, noise_multiplier=sigma, num_steps=1_000))

    sigma = calibrate(cap, 4.0, 1e-5, "replace-one")
    assert 0.5 < sigma < 0.7
    assert cap(sigma).certificate(1e-5, "replace-one").method == "PLD"
    assert 3.95 < cap(sigma).epsilon(1e-5, "replace-one") <= 4.0


def test_replace_one_without_a_grid_costs_a_removal_and_an_addition():
    # One Gaussian, replaced, is exactly one of half the noise.
    for sigma in (0.5, 2.0, 20.0):
        bound = quick_epsilon(read(dp.GaussianDpEvent(sigma)), 1e-5, "replace-one")
        exact = epsilon(dp.GaussianDpEvent(sigma / 2), 1e-5)
        assert exact <= bound <= 1.3 * exact
    releases = read(steps(1.0, 0.01, 1_000))
    assert quick_epsilon(releases, 1e-5, "replace-one") >= epsilon(steps(1.0, 0.01, 1_000), 1e-5, "replace-one")
    laplace = read(steps(5.0, 0.1, 10, dp.LaplaceDpEvent))
    assert quick_epsilon(laplace, 1e-15, "replace-one") <= 2 * pure_epsilon(laplace)
