"""The mistakes of released codes, put in on purpose: each check passes on the true code and fails on its mistake.

Every check is run twice, on the code as it is and with the mistake patched in; docs/pitfalls.md tells of each mistake.
Statistical checks raise a false alarm less than once in 10^5 runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import trainers.mechanism.clipping
import trainers.run.step
import trainers.run.zeroth_order
from tests.support.frozen import FrozenNoise, FrozenSampler
from tests.support.quadratic import Quadratic
from tests.support.runs import open_run, run_config, step_sum
from trainers.mechanism.noise import ExactNoise
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, MechanismPlan
from trainers.mechanism.tokens import LocalTokens
from trainers.run.method import Method

LAPLACE = {"privacy__noise": "laplace"}


def releases(folder: Path, sampler=None, noise=None, **changes) -> np.ndarray:
    """Run to the end and return its releases, int64 [T, K]."""
    run = open_run(folder, run_config(**changes), sampler=sampler, noise=noise)
    with run.log:
        list(run.segments())
    return np.array(run.log.releases["step"])


def check_noise_is_secret(folder: Path) -> None:
    """Two runs with the same public key and the same batches never share noise."""
    first, second = (releases(folder / name, FrozenSampler([[]] * 10)) for name in "ab")
    assert not (first == second).any()


def check_empty_batch_has_the_noise(folder: Path) -> None:
    changes = {"method__num_steps": 100, "method__num_directions": 50}
    residuals = releases(folder, FrozenSampler([[]] * 100), **changes).ravel() / (2.0 * GRID_UNITS_PER_CLIP)
    assert stats.kstest(residuals, "norm").pvalue > 1e-6
    assert abs(residuals.var() - 1) < 4.5 * np.sqrt(2 / residuals.size)


def check_empty_batch_has_the_laplace_noise(folder: Path) -> None:
    changes = {"method__num_steps": 100, "method__num_directions": 50, **LAPLACE}
    residuals = releases(folder, FrozenSampler([[]] * 100), **changes).ravel() / (2.0 * GRID_UNITS_PER_CLIP)
    assert stats.kstest(residuals, "laplace").pvalue > 1e-6
    assert abs(np.abs(residuals).mean() - 1) < 4.5 / np.sqrt(residuals.size)


def check_one_example_moves_a_laplace_release_by_at_most_the_clip_in_l1(folder: Path) -> None:
    for number, canary_loss in enumerate([np.nan, np.inf, 1e9, 3.0]):
        without, with_canary = (
            step_sum(folder / f"{number}-{name}", batch, Quadratic({99: canary_loss}), **LAPLACE)
            for name, batch in (("without", [*range(5)]), ("with", [*range(5), 99]))
        )
        assert sum(abs(int(value)) for value in with_canary - without) <= GRID_UNITS_PER_CLIP


def check_divisor_is_public(folder: Path) -> None:
    """The update of a release does not depend on how many examples were in the batch."""
    evaluator = Quadratic()
    run = open_run(folder, evaluator=evaluator, sampler=FrozenSampler([[1], [1, 2, 3, 4], []] * 4))
    with run.log:
        list(run.segments())
    unit, config = 1.5 / GRID_UNITS_PER_CLIP, run.config
    for units_K, update in zip(run.log.releases["step"], evaluator.updates, strict=True):
        expected_K = -config.method.learning_rate * units_K * unit / config.privacy.expected_batch_size
        np.testing.assert_allclose([coefficient for _, coefficient in update], expected_K)


def check_clip_is_per_example(folder: Path) -> None:
    """Many equal examples beyond the clip add up to as many times the clip norm."""
    with_ten = open_run(
        folder,
        run_config(method__num_directions=1, method__name="dp-zo", method__num_steps=1),
        evaluator=Quadratic({1: 1e6}),
        sampler=FrozenSampler([[1] * 10]),
        noise=FrozenNoise(scale=0.0),
    )
    with with_ten.log:
        list(with_ten.segments())
    assert abs(int(with_ten.log.releases["step"][0][0])) == 10 * GRID_UNITS_PER_CLIP


def check_one_example_moves_a_release_by_at_most_the_clip(folder: Path) -> None:
    """Replay on D and D ∪ {canary} with frozen noise: |Σ − Σ′| ≤ C in integer units; NaN, inf and huge canaries too."""
    for number, canary_loss in enumerate([np.nan, np.inf, 1e9, 3.0]):
        sums = []
        for name, canary in (("without", []), ("with", [99])):
            run = open_run(
                folder / f"{number}-{name}",
                run_config(method__num_steps=1),
                evaluator=Quadratic({99: canary_loss}),
                sampler=FrozenSampler([[*range(5), *canary]]),
                noise=FrozenNoise(1),
            )
            with run.log:
                list(run.segments())
            sums.append(run.log.releases["step"][0])
        difference = sums[1] - sums[0]
        assert sum(int(value) ** 2 for value in difference) <= GRID_UNITS_PER_CLIP**2


def check_no_step_beyond_the_plan(folder: Path) -> None:
    tokens = LocalTokens(10)
    run = open_run(folder, tokens=tokens)
    with run.log:
        list(run.segments())
    assert run.steps_charged == run.steps_taken == 10
    again = open_run(folder, tokens=tokens)
    with again.log:
        list(again.segments())
    assert again.steps_charged == 10


def noise_from_the_direction_key(patch: pytest.MonkeyPatch) -> None:
    class PublicNoise:
        def __init__(self) -> None:
            self._generator = np.random.default_rng(0)

        def draw(self, plan: MechanismPlan) -> np.ndarray:
            return (self._generator.standard_normal(plan.num_directions) * plan.noise_scale_grid_units).astype(np.int64)

    patch.setattr(trainers.run.zeroth_order, "ExactNoise", PublicNoise)


def no_noise_on_an_empty_batch(patch: pytest.MonkeyPatch) -> None:
    true_draw, true_sum = ExactNoise.draw, trainers.run.step.clipped_sum
    sizes: list[int] = []

    def remember(values_BK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
        sizes.append(len(values_BK))
        return true_sum(values_BK, plan)

    def skip(self: ExactNoise, plan: MechanismPlan) -> np.ndarray:
        return true_draw(self, plan) * (sizes[-1] > 0)

    patch.setattr(trainers.run.step, "clipped_sum", remember)
    patch.setattr(ExactNoise, "draw", skip)


def noise_at_nine_tenths(patch: pytest.MonkeyPatch) -> None:
    true_draw = ExactNoise.draw
    patch.setattr(ExactNoise, "draw", lambda self, plan: (true_draw(self, plan) * 0.9).astype(np.int64))


def division_by_the_real_batch_size(patch: pytest.MonkeyPatch) -> None:
    true_sum = trainers.run.step.clipped_sum
    true_update = Method.update
    sizes: list[int] = []

    def remember(values_BK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
        sizes.append(max(1, len(values_BK)))
        return true_sum(values_BK, plan)

    def divide(self: Method, step: int, noisy_K: np.ndarray) -> None:
        true_update(self, step, noisy_K * self.plan_at(step).expected_batch_size / sizes[-1])

    patch.setattr(trainers.run.step, "clipped_sum", remember)
    patch.setattr(Method, "update", divide)


def one_clip_for_the_batch(patch: pytest.MonkeyPatch) -> None:
    true_clip = trainers.mechanism.clipping.clip_to_grid

    def clip_the_mean(values_BK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
        return true_clip(values_BK.mean(axis=0, keepdims=True), plan)

    patch.setattr(trainers.mechanism.clipping, "clip_to_grid", clip_the_mean)


def clip_of_each_coordinate(patch: pytest.MonkeyPatch) -> None:
    def clip(values_BK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
        assert plan.clip_norm is not None
        finite = np.nan_to_num(values_BK, nan=0.0, posinf=0.0, neginf=0.0)
        return (np.clip(finite, -plan.clip_norm, plan.clip_norm) / plan.grid_unit).astype(np.int64)

    patch.setattr(trainers.mechanism.clipping, "clip_to_grid", clip)


def a_step_beyond_the_plan(patch: pytest.MonkeyPatch) -> None:
    true_points = trainers.run.zeroth_order.ZerothOrderRun.score_points
    patch.setattr(
        trainers.run.zeroth_order.ZerothOrderRun,
        "score_points",
        lambda self: [point + 1 for point in true_points(self)],
    )
    patch.setattr(LocalTokens, "draw", lambda self, step: None)


def laplace_with_an_l2_clip(patch: pytest.MonkeyPatch) -> None:
    true_clip = trainers.mechanism.clipping.clip_to_grid

    def clip(values_BK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
        return true_clip(values_BK, dataclasses.replace(plan, noise="gaussian"))

    patch.setattr(trainers.mechanism.clipping, "clip_to_grid", clip)


def gaussian_noise_for_laplace(patch: pytest.MonkeyPatch) -> None:
    true_draw = ExactNoise.draw
    patch.setattr(ExactNoise, "draw", lambda self, plan: true_draw(self, dataclasses.replace(plan, noise="gaussian")))


CHECKS: list[Callable[[Path], None]] = [
    check_noise_is_secret,
    check_empty_batch_has_the_noise,
    check_divisor_is_public,
    check_clip_is_per_example,
    check_one_example_moves_a_release_by_at_most_the_clip,
    check_no_step_beyond_the_plan,
    check_empty_batch_has_the_laplace_noise,
    check_one_example_moves_a_laplace_release_by_at_most_the_clip_in_l1,
]

MISTAKES: list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[Path], None]]] = [
    (noise_from_the_direction_key, check_noise_is_secret),
    (no_noise_on_an_empty_batch, check_empty_batch_has_the_noise),
    (noise_at_nine_tenths, check_empty_batch_has_the_noise),
    (division_by_the_real_batch_size, check_divisor_is_public),
    (one_clip_for_the_batch, check_clip_is_per_example),
    (clip_of_each_coordinate, check_one_example_moves_a_release_by_at_most_the_clip),
    (a_step_beyond_the_plan, check_no_step_beyond_the_plan),
    (no_noise_on_an_empty_batch, check_empty_batch_has_the_laplace_noise),
    (noise_at_nine_tenths, check_empty_batch_has_the_laplace_noise),
    (gaussian_noise_for_laplace, check_empty_batch_has_the_laplace_noise),
    (laplace_with_an_l2_clip, check_one_example_moves_a_laplace_release_by_at_most_the_clip_in_l1),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_true_code_passes(check, tmp_path):
    check(tmp_path)


@pytest.mark.parametrize(("mistake", "check"), MISTAKES, ids=lambda value: value.__name__)
def test_the_mistake_is_found(mistake, check, tmp_path, monkeypatch):
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        check(tmp_path)
