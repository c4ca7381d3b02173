"""The laws of the directions: right moments and distribution, independence of everything that has its own key.

All values are deterministic, so a test that passes once passes always; the stated false-alarm rates say how likely a
right implementation with another seed would fail. Each law test must also reject a scale that is 1 % wrong.
"""

import itertools

import numpy as np
import pytest
from scipy import stats

from trainers.directions import Direction, direction_values

NUM = 1_000_000
DIRECTION_KINDS = ("gaussian", "rademacher")


def draw(
    kind: str, *, seed: int = 11, step: int = 0, index: int = 0, name: str = "weight", numel: int = NUM
) -> np.ndarray:
    return direction_values(Direction(seed, step, index, kind), name, numel).astype(np.float64)  # pyright: ignore[reportArgumentType]


def looks_standard_normal(values: np.ndarray) -> dict[str, bool]:
    """Moments within 4.5 standard deviations (false alarm 7e-6 each), Kolmogorov–Smirnov p above 1e-3."""
    root = np.sqrt(len(values))
    return {
        "mean": abs(values.mean()) < 4.5 / root,
        "variance": abs(values.var() - 1) < 4.5 * np.sqrt(2) / root,
        "kurtosis": abs((values**4).mean() - 3) < 4.5 * np.sqrt(96) / root,
        "law": stats.kstest(values, "norm").pvalue > 1e-3,
    }


def test_gaussian_values_are_standard_normal():
    assert all(looks_standard_normal(draw("gaussian")).values())


@pytest.mark.parametrize("scale", [0.99, 1.01])
def test_a_scale_wrong_by_one_percent_is_rejected(scale):
    verdict = looks_standard_normal(scale * draw("gaussian"))
    assert not verdict["variance"]
    assert not verdict["law"]


@pytest.mark.parametrize("lane", range(4))
def test_each_lane_of_a_gaussian_block_is_standard_normal(lane):
    assert all(looks_standard_normal(draw("gaussian", seed=12)[lane::4]).values())


def test_gaussian_tails_have_their_share():
    """Counts beyond 3, 4 and 5 standard deviations of 4 million values, within the 1e-4 quantiles of Poisson."""
    values = np.abs(np.concatenate([draw("gaussian", index=index) for index in range(4)]))
    for bound in (3.0, 4.0, 5.0):
        expected = len(values) * 2 * stats.norm.sf(bound)
        low, high = stats.poisson.ppf([5e-5, 1 - 5e-5], expected)
        assert low <= (values > bound).sum() <= high


def test_rademacher_signs_are_balanced_in_every_bit_position():
    """Each of the 128 positions of a block: 5 standard deviations, false alarm 128 · 6e-7 = 7e-5."""
    signs = draw("rademacher", numel=128 * 20_000).reshape(-1, 128)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert np.abs(signs.mean(axis=0)).max() < 5 / np.sqrt(20_000)
    assert abs(signs.mean()) < 5 / np.sqrt(signs.size)


@pytest.mark.parametrize("kind", DIRECTION_KINDS)
def test_elements_of_a_tensor_are_uncorrelated(kind):
    """Lags within and across blocks: |correlation| below 5 / sqrt(n), false alarm 6e-7 a lag; for z² as well."""
    values = draw(kind)
    for lag in (1, 2, 3, 4, 5, 31, 32, 64, 96, 127, 128, 129, 256, 768, 4096, 8192):
        assert abs((values[:-lag] * values[lag:]).mean()) < 5 / np.sqrt(NUM - lag)
        squares = (values**2 - 1) / np.sqrt(2)
        assert abs((squares[:-lag] * squares[lag:]).mean()) < 5 / np.sqrt(NUM - lag)


@pytest.mark.parametrize("kind", DIRECTION_KINDS)
def test_directions_of_different_keys_are_independent(kind):
    """Equal-shaped tensors under other names, steps, indices, seeds: every pair below 5 / sqrt(n), false alarm 6e-7."""
    draws = {
        "base": draw(kind),
        "name": draw(kind, name="weight2"),
        "layer": draw(kind, name="layers.1.weight"),
        "step": draw(kind, step=1),
        "later": draw(kind, step=2**32),
        "index": draw(kind, index=1),
        "seed": draw(kind, seed=12),
    }
    for (left, a), (right, b) in itertools.combinations(draws.items(), 2):
        assert abs((a * b).mean()) < 5 / np.sqrt(NUM), (left, right)
        assert not np.array_equal(a[:64], b[64:128]), (left, right)


def test_kinds_are_independent():
    assert abs((draw("gaussian") * draw("rademacher")).mean()) < 5 / np.sqrt(NUM)
