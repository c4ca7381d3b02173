import numpy as np
import pytest

from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, MechanismPlan
from trainers.run.released import ReleasedValues, RunningMean

PLAN = MechanismPlan(0.5, 10.0, 4, 100, 3.0, 2.0)


def units(*values: float) -> np.ndarray:
    """Return integers whose mean, over B = 10 and at C = 3, has these values."""
    return np.array([round(value * 10 / 3 * GRID_UNITS_PER_CLIP) for value in values])


def test_without_options_a_release_is_its_sum_over_the_public_batch_size():
    np.testing.assert_allclose(ReleasedValues(None).mean(units(1, -2, 0, 0.5), PLAN), [1, -2, 0, 0.5])


def test_shrinkage_keeps_the_share_that_noise_does_not_explain():
    """Noise has 4 · (3 · 2 / 10)² = 1.44 of ‖g‖² = 5.76 here: three quarters are left."""
    np.testing.assert_allclose(ReleasedValues(0.0).mean(units(2.4, 0, 0, 0), PLAN), [1.8, 0, 0, 0])
    assert not ReleasedValues(0.0).mean(units(0.5, 0.5, 0.5, 0.5), PLAN).any()


def test_shrinkage_remembers_over_steps_and_recovers_the_share_of_the_signal():
    rng, signal = np.random.default_rng(0), np.array([0.3, 0.3, -0.3, 0.3])
    values, shares = ReleasedValues(0.995), []
    for _ in range(4000):
        noisy = signal + 0.6 * rng.standard_normal(4)
        shares.append(float((values.mean(units(*noisy), PLAN) / noisy)[0]))
    expected = 0.36 / (0.36 + 1.44)
    assert np.mean(shares[1000:]) == pytest.approx(expected, abs=0.05)


def test_a_running_mean_weighs_what_it_saw_to_one():
    mean = RunningMean(0.9)
    assert mean.add(4.0) == pytest.approx(4.0)
    assert mean.add(2.0) == pytest.approx((0.09 * 4.0 + 0.1 * 2.0) / 0.19)
