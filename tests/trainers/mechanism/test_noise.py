"""The law of the noise. False-alarm rates: each test below fails by chance less than once in 10^5 runs."""

import numpy as np
import pytest
from scipy import stats

from trainers.mechanism.noise import ExactNoise, discrete_gaussian, discrete_laplace
from trainers.mechanism.plan import MechanismPlan

DRAWS = 20_000


def draws(std: int) -> np.ndarray:
    return np.array([discrete_gaussian(std) for _ in range(DRAWS)], dtype=np.float64)


def laplace_draws(scale: int) -> np.ndarray:
    return np.array([discrete_laplace(scale) for _ in range(DRAWS)], dtype=np.float64)


def test_small_scale_has_the_discrete_law():
    support = np.arange(-12, 13)
    weights = np.exp(-(support**2) / (2 * 2**2))
    counts = np.array([(draws(2) == value).sum() for value in [0]])  # the mode alone, exactly
    assert abs(counts[0] - DRAWS * weights[12] / weights.sum()) < 4.5 * np.sqrt(DRAWS * 0.2)
    seen = draws(2)
    observed = np.array([(seen == value).sum() for value in range(-6, 7)])
    expected = DRAWS * weights[6:19] / weights.sum()
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-6


@pytest.mark.parametrize(("claimed", "accepted"), [(0.9, False), (1.0, True), (1.1, False)])
def test_large_scale_is_gaussian_of_that_scale_and_no_other(claimed, accepted):
    std = 3 * 2**30 + 7
    assert (stats.kstest(draws(std) / (std * claimed), "norm").pvalue > 1e-6) == accepted


@pytest.mark.parametrize(("claimed", "accepted"), [(0.9, False), (1.0, True), (1.1, False)])
def test_small_laplace_has_the_discrete_law_of_that_scale_and_no_other(claimed, accepted):
    scale, edge = 4, 16
    seen = np.clip(laplace_draws(scale), -edge, edge)  # what lies beyond is counted at the edge
    observed = np.array([(seen == value).sum() for value in range(-edge, edge + 1)])
    support = np.arange(-400, 401)
    mass = np.exp(-np.abs(support) / (scale * claimed))
    mass /= mass.sum()
    expected = np.array([mass[np.clip(support, -edge, edge) == value].sum() for value in range(-edge, edge + 1)])
    assert (stats.chisquare(observed, DRAWS * expected).pvalue > 1e-6) == accepted


@pytest.mark.parametrize(("claimed", "accepted"), [(0.9, False), (1.0, True), (1.1, False)])
def test_large_laplace_has_that_scale_and_no_other(claimed, accepted):
    scale = 3 * 2**30 + 7
    drawn = laplace_draws(scale) / (scale * claimed)
    mean_is_right = abs(np.abs(drawn).mean() - 1) < 5 / np.sqrt(len(drawn))  # |x| has mean 1 and standard deviation 1
    assert (mean_is_right and stats.kstest(drawn, "laplace").pvalue > 1e-6) == accepted


def test_the_plan_says_which_law_is_drawn():
    def law(noise):
        plan = MechanismPlan(0.5, 4.0, 100, 1, 1.0, 1.5, noise)
        return np.concatenate([ExactNoise().draw(plan) for _ in range(100)]) / plan.noise_scale_grid_units

    gaussian, laplace = law("gaussian"), law("laplace")
    assert stats.kstest(gaussian, "norm").pvalue > 1e-6
    assert stats.kstest(laplace, "laplace").pvalue > 1e-6
    assert stats.kstest(laplace, "norm").pvalue < 1e-6


@pytest.mark.parametrize("law", ["gaussian", "laplace"])
def test_coordinates_are_independent_and_never_repeat(law):
    plan = MechanismPlan(0.5, 4.0, 50, 1, 1.0, 1.0, law)
    noise = np.array([ExactNoise().draw(plan) for _ in range(200)], dtype=np.float64)
    repeated = noise.size - len(np.unique(noise))  # by chance: 10^8 / 2 pairs of which one in 2√π · 2^30 is equal
    assert repeated <= 3
    correlation = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
    assert abs(correlation) < 4.5 / np.sqrt(noise.size)


def test_no_noise_only_without_privacy():
    plan = MechanismPlan(0.5, 4.0, 3, 1, None, None)
    assert ExactNoise().draw(plan).tolist() == [0, 0, 0]


def test_less_than_a_unit_of_noise_is_refused():
    for law in (discrete_gaussian, discrete_laplace):
        with pytest.raises(ValueError, match="at least one unit of the grid"):
            law(0)
