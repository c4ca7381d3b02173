"""The closed-form bounds against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.privacy.accountant.bounds import pure_epsilon, quick_epsilon, renyi, renyi_epsilon, step_pure_epsilon
from orchestrator.privacy.accountant.events import Release, Releases

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


def test_many_laplace_releases_are_bounded_better_than_by_advanced_composition():
    # Kairouz, Oh & Viswanath (2015): T ε₀ (e^ε₀ − 1)/(e^ε₀ + 1) + ε₀ √(2 T ln(1/δ)), here below T ε₀ = 40
    advanced = 40 * math.expm1(0.1) / (math.exp(0.1) + 1) + 0.1 * math.sqrt(800 * math.log(1e5))
    assert 0.8 * advanced < quick_epsilon(releases(LAPLACE), 1e-5) < advanced
    assert quick_epsilon(releases(SAMPLED_LAPLACE), 1e-5) == pure_epsilon(releases(SAMPLED_LAPLACE))


def test_two_kinds_of_noise_add_up_at_each_order():
    orders = (1.5, 4.0, 32.0)
    both = renyi(releases(GAUSSIAN, LAPLACE), orders)
    assert both == pytest.approx(renyi(releases(GAUSSIAN), orders) + renyi(releases(LAPLACE), orders), rel=1e-12)


def test_fewer_orders_only_cost_a_little():
    exact = renyi_epsilon(releases(GAUSSIAN), 1e-5)
    assert exact - 1e-12 <= quick_epsilon(releases(GAUSSIAN), 1e-5) <= 1.03 * exact


@pytest.mark.parametrize("order", [1.1, 2.0, 7.5, 60.0])
@pytest.mark.parametrize(("q", "sigma"), [(1.0, 2.0), (0.1, 2.0), (0.3, 0.5), (0.01, 20.0)])
def test_the_renyi_bound_of_a_pure_step_is_that_of_sampled_randomised_response(q, sigma, order):
    likely = 1 / (1 + math.exp(-1 / sigma))
    without = np.array([1 - likely, likely])
    with_record = (1 - q) * without + q * without[::-1]
    there = math.log((with_record**order * without ** (1 - order)).sum()) / (order - 1)
    back = math.log((without**order * with_record ** (1 - order)).sum()) / (order - 1)
    found = renyi(releases((Release("pure", q, sigma), 1)), [order])[0]
    assert found == pytest.approx(max(there, back), rel=1e-6)
    assert 0 < found <= step_pure_epsilon(Release("pure", q, sigma))


@pytest.mark.parametrize("order", [1.5, 3.0, 40.0])
def test_the_renyi_bound_of_sampled_laplace_is_above_its_integral_and_near(order):
    q, sigma = 0.2, 2.0
    x = np.linspace(-60, 60, 400_001)
    without, with_record = (np.exp(-abs(x - at) / sigma) / (2 * sigma) for at in (0.0, 1.0))
    mixed = (1 - q) * without + q * with_record
    exact = [np.trapezoid((a / b) ** order * b, x) for a, b in ((mixed, without), (without, mixed))]
    exact = max(math.log(value) / (order - 1) for value in exact)
    assert exact - 1e-9 <= renyi(releases((Release("laplace", q, sigma), 1)), [order])[0] <= 1.5 * exact


def test_renyi_bounds_of_hardly_any_noise_stay_finite():
    for release in (Release("pure", 0.5, 0.002), Release("laplace", 0.5, 1e-6), Release("pure", 1.0, 0.002)):
        assert renyi(releases((release, 1)), [2.0, 512.0])[1] == step_pure_epsilon(release)


def test_a_bare_release_has_no_bound():
    bare = Releases((GAUSSIAN,), False)
    assert quick_epsilon(bare, 1e-5) == renyi_epsilon(bare, 1e-5) == math.inf
