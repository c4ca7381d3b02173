"""Composition against exact fractions, and the errors that its allowance is for."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.pld.pld_pmf import DensePLDPmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

from orchestrator.privacy.accountant import composition
from orchestrator.privacy.accountant.composition import compose

GRID = 0.01
ONCE = [Fraction(n, 1024) for n in (1, 100, 500, 400, 20, 3)]


def pmf(probabilities, lowest=-2, at_infinity=0.0):
    return DensePLDPmf(GRID, lowest, np.array([float(p) for p in probabilities]), at_infinity, True)


def exactly_composed(times):
    law = [Fraction(1)]
    for _ in range(times):
        law = [
            sum(ONCE[j] * law[i - j] for j in range(len(ONCE)) if 0 <= i - j < len(law))
            for i in range(len(law) + len(ONCE) - 1)
        ]
    return law


def test_rounding_stays_within_the_allowance_and_is_far_below_float64(monkeypatch):
    monkeypatch.setattr(composition, "_STEP_ERROR", 0.0)
    monkeypatch.setattr(composition, "_MASS_ERROR", 0.0)
    times = 60
    exact = exactly_composed(times)
    losses = compose([(PrivacyLossDistribution(pmf(ONCE)), times)], 1e6)
    assert losses is not None
    found = losses._pmf_remove
    first = found._lower_loss + 2 * times
    errors = [abs(Fraction(p) - exact[first + i]) for i, p in enumerate(found._probs.tolist())]
    relative = sum(exact[first : first + found.size]) * Fraction(2, 2**53)  # the answer is rounded to float64
    assert sum(errors) - relative <= found._infinity_mass - 1e-15 < 1e-14
    assert sum(exact[:first]) + sum(exact[first + found.size :]) <= 1e-15


def test_infinite_losses_add_up_and_a_mass_of_larger_losses_stands_for_rounding_in_each_step():
    once = PrivacyLossDistribution(pmf(ONCE, at_infinity=1e-9))
    losses = compose([(once, 50), (once, 7)], 1e6)
    assert losses is not None
    assert losses.get_delta_for_epsilon(1e3) == pytest.approx(57e-9, rel=0.02)
    bare = once.self_compose(57)
    for epsilon in (0.0, 0.3, 0.6):
        hidden = losses.get_delta_for_epsilon(epsilon) - bare.get_delta_for_epsilon(epsilon)
        assert hidden >= 57 * composition._STEP_ERROR * float(np.sum(bare._pmf_remove._probs[-10:]))
    assert compose([(once, 50)], 10) is None


@pytest.mark.parametrize(("sigma", "q"), [(0.7, 0.004), (20.0, 0.0016), (4.0, 0.064)])
def test_a_step_of_the_library_hides_less_than_the_declared_share_of_the_mass_above(sigma, q):
    grid = min(1e-4, 0.1 * q / sigma)
    step = privacy_loss_distribution.from_gaussian_mechanism(
        sigma, value_discretization_interval=grid, sampling_prob=q
    )._pmf_remove.to_dense_pmf()
    for hidden, tail in _hidden(step, sigma, q):
        assert hidden <= composition._STEP_ERROR / 3 * tail


def test_second_differences_of_a_profile_hide_nothing_on_a_grid_far_finer_than_the_losses():
    grid = 7e-5  # exp(grid) is rounded down by half a unit, 100,000 times in a row
    step = privacy_loss_distribution.from_gaussian_mechanism(2.0, value_discretization_interval=grid)
    composed = compose([(step, 1)], 1e6)
    assert composed is not None
    assert max(hidden for hidden, _ in _hidden(composed._pmf_remove.to_dense_pmf(), 2.0, 1.0)) <= 0


def _hidden(step, sigma, q):
    """Yield by how much δ of a step exceeds that of its distribution, and the mass above, at 40 losses of the grid."""
    losses = (step._lower_loss + np.arange(step.size)).astype(np.longdouble) * step._discretization
    weights = step._probs.astype(np.longdouble)
    for i in np.linspace(0, step.size - 1, 40).astype(int):
        tail = step._infinity_mass + weights[i:].sum()
        found = step._infinity_mass - (weights[i:] * np.expm1(losses[i] - losses[i:])).sum()
        yield float(_exact_step(sigma, q, float(losses[i])) - mpmath.mpf(str(found))), float(tail)


def _exact_step(sigma, q, epsilon):
    """Return δ(ε) of a step, removing an example: by normal laws, to 40 digits."""
    with mpmath.workdps(40):
        s, q, grown = mpmath.mpf(sigma), mpmath.mpf(q), mpmath.exp(mpmath.mpf(epsilon))
        odds = (grown - 1 + q) / q
        if odds <= 0:
            return 1 - grown
        x = -(2 * s * s * mpmath.log(odds) + 1) / 2
        return q * mpmath.ncdf((x + 1) / s) - (grown - 1 + q) * mpmath.ncdf(x / s)


def test_a_window_holds_all_but_the_tail():
    step = pmf([0.5, 0, 0, 0, 0, 0.5], lowest=-3)
    low, high = composition._window([(step, 400)])
    outside = [math.comb(400, k) for k in range(401) if not low <= 5 * k <= high]
    assert sum(outside) / 2**400 <= 1e-15
    assert high - low < 5 * 400
