import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainers.clipping import clip_to_grid, clipped_sum
from trainers.mechanism import UNITS_PER_CLIP, MechanismPlan


def plan(num_directions: int, clip_norm: float | None = 1.5) -> MechanismPlan:
    return MechanismPlan(0.5, 4.0, num_directions, 1, clip_norm, None if clip_norm is None else 1.0)


def norm_squared(units_K: np.ndarray) -> int:
    return sum(int(value) ** 2 for value in units_K)


any_float = st.floats(allow_nan=True, allow_infinity=True, width=64)
rows = st.integers(1, 6).flatmap(
    lambda k: arrays(np.float64, st.tuples(st.integers(0, 5), st.just(k)), elements=any_float)
)


@settings(max_examples=300, deadline=None)
@given(rows, st.floats(1e-6, 1e6))
def test_every_row_is_inside_the_ball_in_exact_integers(values_BK, clip_norm):
    for units_K in clip_to_grid(values_BK, plan(values_BK.shape[1], clip_norm)):
        assert norm_squared(units_K) <= UNITS_PER_CLIP**2


@settings(max_examples=200, deadline=None)
@given(rows, st.data())
def test_one_example_moves_the_sum_by_at_most_the_clip(values_BK, data):
    canary_1K = data.draw(arrays(np.float64, (1, values_BK.shape[1]), elements=any_float))
    mechanism = plan(values_BK.shape[1])
    with_canary = clipped_sum(np.concatenate([values_BK, canary_1K]), mechanism)
    assert norm_squared(with_canary - clipped_sum(values_BK, mechanism)) <= UNITS_PER_CLIP**2


def test_edge_cases():
    mechanism = plan(2, clip_norm=2.0)
    values_BK = np.array(
        [[np.nan, 1.0], [np.inf, 0.0], [1e300, 0.0], [1e308, 1e308], [0.0, 0.0], [1.0, 0.0], [5e-324, 5e-324]]
    )
    half, diagonal = UNITS_PER_CLIP // 2, int(UNITS_PER_CLIP / np.sqrt(2))
    expected = [[0, half], [0, 0], [UNITS_PER_CLIP, 0], [diagonal, diagonal], [0, 0], [half, 0], [0, 0]]
    assert clip_to_grid(values_BK, mechanism).tolist() == expected


def test_rows_inside_the_ball_are_kept():
    values_BK = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    mechanism = plan(3, clip_norm=1.0)
    np.testing.assert_allclose(clip_to_grid(values_BK, mechanism) * mechanism.unit, values_BK, atol=mechanism.unit)


def test_empty_batch_sums_to_zero():
    assert clipped_sum(np.empty((0, 3)), plan(3)).tolist() == [0, 0, 0]


def test_without_a_clip_values_are_only_rounded():
    assert clip_to_grid(np.array([[1234.5], [np.nan], [-1e300]]), plan(1, None)).tolist() == [
        [int(1234.5 * UNITS_PER_CLIP)],
        [0],
        [-(2**48)],
    ]


@pytest.mark.parametrize("shape", [(3,), (1, 2), (4, 3, 1)])
def test_a_batch_mean_has_the_wrong_shape(shape):
    with pytest.raises(ValueError, match="per example"):
        clipped_sum(np.zeros(shape), plan(3))
