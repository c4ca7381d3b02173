"""Profiles and the loss distributions that dominate them: exact at the points, on the safe side between them."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution

from orchestrator.privacy.accountant.profile import loss_range, of_profiles, of_two_losses, profiles

GRID = 1e-3
EPSILONS = np.linspace(-3, 3, 121)


def sampled_gaussian(q=0.3, sigma=1.5):
    return privacy_loss_distribution.from_gaussian_mechanism(sigma, value_discretization_interval=GRID, sampling_prob=q)


def exact_profiles(epsilon, q=0.3, sigma=1.5):
    """δ of a sampled Gaussian (removing, adding a record) by its quantiles, at any ε."""
    phi = NormalDist().cdf
    weight = (math.exp(epsilon) - (1 - q)) / q  # removing: (1−q)N(0) + qN(1) against N(0)
    remove = 1 - math.exp(epsilon)
    if weight > 0:
        at = sigma * sigma * math.log(weight) + 0.5
        remove = q * (1 - phi((at - 1) / sigma)) - (math.exp(epsilon) - 1 + q) * (1 - phi(at / sigma))
    weight = (math.exp(-epsilon) - (1 - q)) / q  # adding: N(0) against (1−q)N(0) + qN(1)
    add = 0.0
    if weight > 0:
        at = sigma * sigma * math.log(weight) + 0.5
        add = (1 - math.exp(epsilon) * (1 - q)) * phi(at / sigma) - math.exp(epsilon) * q * phi((at - 1) / sigma)
    return remove, add


def test_profiles_are_those_of_the_mechanism_in_both_directions_and_for_negative_epsilon():
    remove, add = profiles(sampled_gaussian(), EPSILONS)
    for i, epsilon in enumerate(EPSILONS):
        exact = exact_profiles(epsilon)
        assert exact[0] - 1e-12 <= remove[i] <= exact[0] + 1e-6
        assert exact[1] - 1e-12 <= add[i] <= exact[1] + 1e-6


def test_a_distribution_made_of_profiles_has_them_at_the_points_and_is_above_between():
    losses = sampled_gaussian()
    lowest, highest = (round(end / GRID) for end in loss_range(losses))
    coarse = 20  # points 0.02 apart
    epsilons = np.arange(lowest // coarse, highest // coarse + 2) * coarse * GRID
    made = of_profiles(*profiles(losses, epsilons), lowest // coarse, coarse * GRID)
    for direction in (0, 1):
        found, true = (profiles(which, epsilons)[direction] for which in (made, losses))
        assert found == pytest.approx(true, abs=1e-12)
        between = epsilons + 0.37 * coarse * GRID
        found, true = (profiles(which, between)[direction] for which in (made, losses))
        assert np.all(found >= true - 1e-12)
        assert np.max(found - true) < 2e-4
    twice = made.self_compose(5).get_epsilon_for_delta(1e-5)
    assert losses.self_compose(5).get_epsilon_for_delta(1e-5) <= twice <= 1.01 * twice


def test_two_losses_are_enclosed_by_the_grid():
    outcomes = ((0.30037, 0.4), (math.log((1 - 0.4 * math.exp(0.30037)) / 0.6), 0.6))
    made = of_two_losses(outcomes, GRID)
    for epsilon in EPSILONS:
        remove, add = profiles(made, np.array([epsilon]))
        exact = math.fsum(p * max(0.0, math.exp(loss) - math.exp(epsilon)) for loss, p in outcomes)
        back = math.fsum(p * max(0.0, 1 - math.exp(loss + epsilon)) for loss, p in outcomes)
        assert exact - 1e-12 <= remove[0] <= exact + GRID
        assert back - 1e-12 <= add[0] <= back + GRID
    assert made.get_delta_for_epsilon(0.301) <= 1e-15
