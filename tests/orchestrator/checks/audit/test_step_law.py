import numpy as np
import pytest
from scipy import stats

from orchestrator.checks.audit.step_law import DISTRIBUTIONS, StepLaw


def test_the_gaussian_score_is_the_formula():
    """L = Σ ln(1 − q + q·e^{(2x − 1)/(2σ²)})."""
    x = np.array([-1.0, 0.2, 3.0])
    expected = np.log(1 - 0.25 + 0.25 * np.exp((2 * x - 1) / (2 * 2.0**2))).sum()
    assert StepLaw("gaussian", 0.25, 2.0).score(x[:, None], np.ones(1)) == pytest.approx(expected)


def test_the_gaussian_score_sees_only_the_projection_on_the_canary():
    law, canary = StepLaw("gaussian", 0.5, 1.0), np.full(4, 0.5)
    along, across = canary * 1.7, np.array([1.0, -1.0, 2.0, -2.0])
    expected = law.score(np.array([[1.7]]), np.ones(1))
    assert law.score((along + across)[None], canary) == pytest.approx(expected)


def test_the_laplace_score_is_the_ratio_of_densities():
    x, b = np.array([-0.5, 0.3, 2.0]), 1.5
    ratio = stats.laplace.pdf(x, 1, b) / stats.laplace.pdf(x, 0, b)
    assert StepLaw("laplace", 0.3, b).score(x[:, None], np.ones(1)) == pytest.approx(np.log(0.7 + 0.3 * ratio).sum())


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
@pytest.mark.parametrize("sampling_prob", [0.25, 1.0])
def test_a_likelihood_ratio_has_mean_one_without_the_canary(noise, sampling_prob):
    scores = StepLaw(noise, sampling_prob, 2.0).simulate(np.random.default_rng(0), 40_000, 3, present=False)
    ratios = np.exp(scores)
    assert abs(ratios.mean() - 1) < 5 * ratios.std() / np.sqrt(ratios.size)


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_replacing_is_told_better_than_removing(noise):
    def gap(adjacency):
        law = StepLaw(noise, 0.5, 2.0, adjacency)
        absent, present = (law.simulate(np.random.default_rng(1), 4000, 4, present=there) for there in (False, True))
        return present.mean() - absent.mean()

    assert gap("replace-one") > 2 * gap("add-or-remove-one")


def test_less_noise_is_simulated_as_asked():
    quiet, true = (
        StepLaw("gaussian", 1.0, 1.0).simulate(np.random.default_rng(2), 10_000, 1, present=False, noise_factor=factor)
        for factor in (0.5, 1.0)
    )
    assert quiet.std() / true.std() == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_a_law_agrees_with_itself(noise):
    """Density, distribution function, spread and chance of a repeat are those of one law."""
    law = DISTRIBUTIONS[noise]
    grid = np.linspace(-12, 12, 240_001)
    density = np.exp(law.log_density(grid))
    density /= np.trapezoid(density, grid)
    np.testing.assert_allclose(np.cumsum(density) * (grid[1] - grid[0]), law.cdf(grid), atol=1e-4)
    spread = law.spread(grid)
    assert np.trapezoid(spread * density, grid) == pytest.approx(1.0, rel=1e-3)
    assert np.trapezoid((spread - 1) ** 2 * density, grid) ** 0.5 == pytest.approx(law.spread_std, rel=5e-3)
    assert np.trapezoid(density**2, grid) == pytest.approx(law.collision, rel=1e-3)
    assert stats.kstest(law.draw(np.random.default_rng(3), (5000,)), law.cdf).pvalue > 1e-3
