"""The closed-form bounds against their formulas."""

from __future__ import annotations

import math

import pytest

from orchestrator.privacy.bounds import pure_epsilon, quick_epsilon, renyi_epsilon
from orchestrator.privacy.events import Release, Releases

GAUSSIAN = (Release("gaussian", 0.05, 5.0), 300)
LAPLACE = (Release("laplace", 1.0, 10.0), 400)
SAMPLED_LAPLACE = (Release("laplace", 0.1, 2.0), 3)


def releases(*counts):
    return Releases(tuple(sorted(counts)), True)


def test_pure_epsilon_adds_up_amplified_steps():
    expected = 400 / 10 + 3 * math.log(1 + 0.1 * (math.exp(0.5) - 1))
    assert pure_epsilon(releases(LAPLACE, SAMPLED_LAPLACE)) == pytest.approx(expected, rel=1e-12)
    assert pure_epsilon(releases(LAPLACE, GAUSSIAN)) == math.inf
    assert pure_epsilon(Releases((LAPLACE,), False)) == math.inf


def test_pure_epsilon_of_hardly_any_noise_does_not_overflow():
    assert pure_epsilon(releases((Release("laplace", 0.5, 1e-6), 1))) == 1e6


def test_many_laplace_releases_are_bounded_by_advanced_composition():
    # Kairouz, Oh & Viswanath (2015): T ε₀ (e^ε₀ − 1)/(e^ε₀ + 1) + ε₀ √(2 T ln(1/δ)), here below T ε₀ = 40
    expected = 40 * math.expm1(0.1) / (math.exp(0.1) + 1) + 0.1 * math.sqrt(800 * math.log(1e5))
    assert quick_epsilon(releases(LAPLACE), 1e-5) == pytest.approx(expected, rel=1e-12)
    assert quick_epsilon(releases(SAMPLED_LAPLACE), 1e-5) == pure_epsilon(releases(SAMPLED_LAPLACE))


def test_two_kinds_of_noise_share_the_delta():
    halves = quick_epsilon(releases(GAUSSIAN), 5e-6) + quick_epsilon(releases(LAPLACE), 5e-6)
    assert quick_epsilon(releases(GAUSSIAN, LAPLACE), 1e-5) == pytest.approx(halves, rel=1e-12)


def test_fewer_orders_only_cost_a_little():
    exact = renyi_epsilon(releases(GAUSSIAN), 1e-5)
    assert exact - 1e-12 <= quick_epsilon(releases(GAUSSIAN), 1e-5) <= 1.03 * exact


def test_renyi_has_no_bound_for_sampled_laplace():
    with pytest.raises(ValueError, match="RDP has no bound for Poisson-sampled Laplace"):
        renyi_epsilon(releases(SAMPLED_LAPLACE), 1e-5)


def test_a_bare_release_has_no_bound():
    bare = Releases((GAUSSIAN,), False)
    assert quick_epsilon(bare, 1e-5) == renyi_epsilon(bare, 1e-5) == math.inf
