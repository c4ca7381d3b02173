import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import trainers.mechanism.clipping
from trainers.mechanism.clipping import clip_to_grid, clipped_sum
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, NORM_UNITS, MechanismPlan, NoiseLaw
from trainers.mechanism.units import unit_means


def plan(num_directions: int, clip_norm: float | None = 1.5, law: str = "gaussian") -> MechanismPlan:
    """Return a plan; `law` is a law of noise, or "norms" for Gaussian noise with a measure of the norms."""
    noise: NoiseLaw = "laplace" if law == "laplace" else "gaussian"
    multiplier = None if clip_norm is None else 1.0
    return MechanismPlan(0.5, 4.0, num_directions, 1, clip_norm, multiplier, noise, has_norm=law == "norms")


def within_the_clip(units_K: np.ndarray, noise: str) -> bool:
    """Whether a vector is inside the ball of 2**30 units, in Python's integers."""
    if noise == "laplace":
        return sum(abs(int(value)) for value in units_K) <= GRID_UNITS_PER_CLIP
    return sum(int(value) ** 2 for value in units_K) <= GRID_UNITS_PER_CLIP**2


both_laws = st.sampled_from(["gaussian", "laplace", "norms"])
any_float = st.floats(allow_nan=True, allow_infinity=True, width=64)
rows = st.integers(1, 6).flatmap(
    lambda k: arrays(np.float64, st.tuples(st.integers(0, 5), st.just(k)), elements=any_float)
)


@settings(max_examples=300, deadline=None)
@given(rows, st.floats(1e-6, 1e6), both_laws)
def test_every_row_is_inside_the_ball_in_exact_integers(values_BK, clip_norm, noise):
    for units_K in clip_to_grid(values_BK, plan(values_BK.shape[1], clip_norm, noise)):
        assert within_the_clip(units_K, noise)


@settings(max_examples=200, deadline=None)
@given(rows, both_laws, st.data())
def test_one_example_moves_the_sum_by_at_most_the_clip(values_BK, noise, data):
    canary_1K = data.draw(arrays(np.float64, (1, values_BK.shape[1]), elements=any_float))
    mechanism = plan(values_BK.shape[1], law=noise)
    with_canary = clipped_sum(np.concatenate([values_BK, canary_1K]), mechanism)
    assert within_the_clip(with_canary - clipped_sum(values_BK, mechanism), noise)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4), st.lists(st.integers(1, 4), max_size=4), st.integers(1, 5), both_laws, st.data())
def test_one_user_moves_the_sum_by_at_most_the_clip(num_directions, sizes, canary_size, noise, data):
    """However many examples the user has, whatever is in them, and wherever it stands among the others."""
    mechanism = plan(num_directions, law=noise)
    groups = [
        data.draw(arrays(np.float64, (size, num_directions), elements=any_float)) for size in [*sizes, canary_size]
    ]
    without = groups[:-1]
    where = data.draw(st.integers(0, len(without)))

    def total(of: list[np.ndarray]) -> np.ndarray:
        values_BK = np.concatenate([*of, np.empty((0, num_directions))])
        return clipped_sum(unit_means(values_BK, [len(group) for group in of]), mechanism)

    moved = total([*without[:where], groups[-1], *without[where:]]) - total(without)
    assert within_the_clip(moved, noise)


def test_laplace_clips_in_the_norm_that_its_guarantee_is_for():
    values_BK = np.array([[3.0, -3.0, 0.0, 0.0], [0.5, 0.0, 0.25, -0.25]])
    quarter, half = GRID_UNITS_PER_CLIP // 4, GRID_UNITS_PER_CLIP // 2
    expected = [[half, -half, 0, 0], [half, 0, quarter, -quarter]]
    assert clip_to_grid(values_BK, plan(4, 1.0, "laplace")).tolist() == expected


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_the_bound_holds_in_integers_whatever_floating_point_did(noise, monkeypatch):
    true_clip = trainers.mechanism.clipping._clip_rows
    monkeypatch.setattr("trainers.mechanism.clipping._clip_rows", lambda *given: true_clip(*given) * (1 + 1e-8))
    values_BK = np.random.default_rng(0).normal(0, 100, (20, 4))
    assert all(within_the_clip(units_K, noise) for units_K in clip_to_grid(values_BK, plan(4, law=noise)))


@settings(max_examples=200, deadline=None)
@given(rows, st.floats(1e-6, 1e6), st.floats(0, 10), st.data())
def test_a_row_with_its_measure_moves_no_further_than_its_vector(values_BK, clip_norm, size, data):
    """So that rounding in the model moves a sum by the same share of C as without a measure; a bit would jump."""
    values_BK = clip_norm * np.clip(np.nan_to_num(values_BK), -3, 3)
    moved_BK = values_BK + size * clip_norm * data.draw(arrays(np.float64, values_BK.shape, elements=st.floats(-1, 1)))
    mechanism = plan(values_BK.shape[1], clip_norm, "norms")
    moved_units_B = np.linalg.norm(clip_to_grid(values_BK, mechanism) - clip_to_grid(moved_BK, mechanism), axis=1)
    allowed_B = np.linalg.norm(values_BK - moved_BK, axis=1) / clip_norm * GRID_UNITS_PER_CLIP
    assert (moved_units_B <= allowed_B * (1 + 1e-9) + 8).all()  # 8: each coordinate is truncated


def test_the_measure_of_norms():
    values_BK = np.array([[0.0, 0.0], [0.6, 0.8], [3.0, 4.0], [1e308, 1e308], [np.nan, 1.0], [0.3, -0.4]])
    units_BK = clip_to_grid(values_BK, plan(2, 2.0, "norms"))
    assert (units_BK[:, 2] / NORM_UNITS).tolist() == [1.0, 0.5, -1.0, -1.0, 0.5, 0.75]
    vector_K = units_BK[1, :2] * plan(2, 2.0, "norms").grid_unit
    np.testing.assert_allclose(vector_K, [0.6, 0.8], atol=1e-8)
    assert plan(2, 2.0, "norms").value_noise == pytest.approx(1.0079, abs=1e-4)


def test_edge_cases():
    mechanism = plan(2, clip_norm=2.0)
    values_BK = np.array(
        [[np.nan, 1.0], [np.inf, 0.0], [1e300, 0.0], [1e308, 1e308], [0.0, 0.0], [1.0, 0.0], [5e-324, 5e-324]]
    )
    half, diagonal = GRID_UNITS_PER_CLIP // 2, int(GRID_UNITS_PER_CLIP / np.sqrt(2))
    expected = [[0, half], [0, 0], [GRID_UNITS_PER_CLIP, 0], [diagonal, diagonal], [0, 0], [half, 0], [0, 0]]
    assert clip_to_grid(values_BK, mechanism).tolist() == expected


def test_rows_inside_the_ball_are_kept():
    values_BK = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    mechanism = plan(3, clip_norm=1.0)
    np.testing.assert_allclose(
        clip_to_grid(values_BK, mechanism) * mechanism.grid_unit, values_BK, atol=mechanism.grid_unit
    )


def test_empty_batch_sums_to_zero():
    assert clipped_sum(np.empty((0, 3)), plan(3)).tolist() == [0, 0, 0]


def test_without_a_clip_values_are_only_rounded():
    assert clip_to_grid(np.array([[1234.5], [np.nan], [-1e300]]), plan(1, None)).tolist() == [
        [int(1234.5 * GRID_UNITS_PER_CLIP)],
        [0],
        [-(2**48)],
    ]


@pytest.mark.parametrize("shape", [(3,), (1, 2), (4, 3, 1)])
def test_a_batch_mean_has_the_wrong_shape(shape):
    with pytest.raises(ValueError, match="per example"):
        clipped_sum(np.zeros(shape), plan(3))


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
@pytest.mark.parametrize("factor", [2.0, 2.0**20])  # squares of the larger overflow int64
def test_a_wrong_clip_fails_and_neither_hangs_nor_passes(noise, factor, monkeypatch):
    true_clip = trainers.mechanism.clipping._clip_rows
    monkeypatch.setattr("trainers.mechanism.clipping._clip_rows", lambda *given: true_clip(*given) * factor)
    with pytest.raises(RuntimeError, match="outside the clip"):
        clip_to_grid(np.full((3, 64), 100.0), plan(64, law=noise))
