"""Box–Muller in float32 against float64, at ordinary and at extreme words."""

import numpy as np
import pytest

from trainers.directions import gaussian

EDGES = [0, 1, 2, 2**23, 2**24, 2**29 - 1, 2**29, 2**30 - 1, 2**30, 2**31, 3 * 2**30, 2**32 - 2**29, 2**32 - 1]


def words(num: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, num, dtype=np.uint32)


@pytest.mark.parametrize("radius_words", [words(1_000_000, 1), np.arange(200_000, dtype=np.uint32)])
def test_box_muller_is_within_1e_6_of_float64(radius_words):
    angle_words = words(len(radius_words), 2)
    got = np.stack(gaussian.box_muller(radius_words, angle_words))
    u1 = (radius_words.astype(np.float32) + np.float32(0.5)).astype(np.float64) / 2**32
    radius, angle = np.sqrt(-2 * np.log(u1)), 2 * np.pi * angle_words.astype(np.float64) / 2**32
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.stack([radius * np.cos(angle), radius * np.sin(angle)]), rtol=0, atol=1e-6)


def test_extreme_words_give_finite_values_within_the_tail_bound():
    edges = np.array(EDGES, np.uint32)
    radius_words, angle_words = (grid.ravel() for grid in np.meshgrid(edges, edges))
    values = np.stack(gaussian.box_muller(radius_words, angle_words))
    assert np.isfinite(values).all()
    assert np.abs(values).max() == pytest.approx(np.sqrt(66 * np.log(2.0)), abs=1e-6)


def test_radius_never_grows_with_its_word():
    ordered = np.sort(np.concatenate([words(100_000, 3), np.arange(1000, dtype=np.uint32)]))
    radius = gaussian.radius(ordered).astype(np.float64)
    assert np.diff(radius).max() < 1e-6
    assert gaussian.radius(np.array([2**32 - 1], np.uint32))[0] == 0


def test_quarter_turns_are_exact():
    cosine, sine = gaussian.cos_sin(np.array([0, 2**30, 2**31, 3 * 2**30], np.uint32))
    np.testing.assert_array_equal(cosine, [1, 0, -1, 0])
    np.testing.assert_array_equal(sine, [0, 1, 0, -1])


def test_cosine_and_sine_lie_on_the_circle():
    cosine, sine = (values.astype(np.float64) for values in gaussian.cos_sin(words(200_000, 4)))
    np.testing.assert_allclose(np.hypot(cosine, sine), 1, rtol=0, atol=2e-7)
