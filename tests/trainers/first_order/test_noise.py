"""The law of the noise. False-alarm rates: each test below fails by chance less than once in 10^5 runs."""

import numpy as np
import pytest
import torch
from scipy import stats

from trainers.first_order.noise import CHUNK, GaussianNoise

DRAWS = 200_000


def draws(std: float, count: int = DRAWS) -> np.ndarray:
    total = {"a": torch.zeros(count // 2, 2, dtype=torch.float64)}
    GaussianNoise().add(total, std)
    return total["a"].flatten().numpy()


@pytest.mark.parametrize(("claimed", "accepted"), [(0.9, False), (1.0, True), (1.1, False)])
def test_the_law_is_gaussian_of_that_scale_and_no_other(claimed, accepted):
    found = draws(3.7)
    assert (stats.kstest(found / (3.7 * claimed), "norm").pvalue > 1e-6) == accepted


def test_its_variance_and_tails_are_gaussian():
    found = draws(1.0, 2_000_000)
    assert abs(found.var() - 1) < 5 * np.sqrt(2 / len(found))
    beyond = (np.abs(found) > 4).sum()
    assert abs(beyond - len(found) * 2 * stats.norm.sf(4)) < 5 * np.sqrt(len(found) * 2 * stats.norm.sf(4))


def test_coordinates_steps_and_tensors_are_independent_and_never_repeat():
    noise, values = GaussianNoise(), []
    for _ in range(3):
        total = {name: torch.zeros(20_001, dtype=torch.float64) for name in ("a", "b")}
        noise.add(total, 1.0)
        values += [tensor.numpy() for tensor in total.values()]
    assert len(np.unique(np.concatenate(values))) == 6 * 20_001
    correlations = np.corrcoef(values)[np.triu_indices(6, 1)]
    halves = [np.corrcoef(one[:10_000], one[10_001:])[0, 1] for one in values]
    neighbours = [np.corrcoef(one[:-1], one[1:])[0, 1] for one in values]
    assert np.abs([*correlations, *neighbours]).max() < 5.5 / np.sqrt(20_000)
    assert np.abs(halves).max() < 5.5 / np.sqrt(10_000)


def test_every_coordinate_gets_noise_and_what_was_there_stays():
    total = {"a": torch.full((CHUNK + 3,), 1e6, dtype=torch.float64), "b": torch.full((1,), -1e6, dtype=torch.float64)}
    GaussianNoise().add(total, 1.0)
    assert (total["a"] != 1e6).all()
    assert (total["b"] != -1e6).all()
    assert abs(float(total["a"].mean()) - 1e6) < 5 / np.sqrt(CHUNK)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_no_noise_at_all_is_refused(std):
    with pytest.raises(ValueError, match="finite standard deviation above 0"):
        draws(std, 2)


def test_no_seed_reaches_it():
    torch.manual_seed(0)
    np.random.seed(0)
    first = draws(1.0, 10)
    torch.manual_seed(0)
    np.random.seed(0)
    assert not np.array_equal(first, draws(1.0, 10))
