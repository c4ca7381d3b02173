"""Mistakes with users, scores and the split, put in on purpose: each check passes on the true code and finds its own.

As in test_the_wrong.py. Statistical checks raise a false alarm less than once in 10^5 runs.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import trainers.data.split
import trainers.mechanism.units
import trainers.run.scoring
import trainers.run.step
import trainers.run.zeroth_order
from tests.support.frozen import FrozenNoise
from tests.support.quadratic import Quadratic, example
from tests.support.runs import run_config, step_sum
from trainers.config import RunConfig
from trainers.config.mechanism import score_plan
from trainers.data.split import identity_of_record, validates
from trainers.evaluators.base import Example
from trainers.mechanism.noise import ExactNoise, Noise
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, MechanismPlan
from trainers.mechanism.release_log import ReleaseLog
from trainers.mechanism.tokens import LocalTokens
from trainers.mechanism.units import Unit, units_of
from trainers.run.scoring import PrivateScore

USERS = {"data__user_column": "user", "data__max_examples_per_user": 4, "data__num_users": 50}


def check_one_user_moves_a_release_by_at_most_the_clip(folder: Path) -> None:
    """A user of four examples, each beyond the clip, in the same direction or in none."""
    for number, canary_loss in enumerate([1e9, np.inf, -3.0]):
        canary = Quadratic(dict.fromkeys(range(96, 100), canary_loss))
        users = ["one"] * 3 + [f"other {n}" for n in range(3, 96)] + ["canary"] * 4
        without, with_canary = (
            step_sum(folder / f"{number}-{name}", batch, canary, users=users, **USERS)
            for name, batch in (("without", [0, 1]), ("with", [0, 1, 94]))
        )
        assert sum(int(value) ** 2 for value in with_canary - without) <= GRID_UNITS_PER_CLIP**2


def check_a_users_examples_count_as_their_mean(folder: Path) -> None:
    """A user counts as the mean of its examples: not as their sum, not as one of them, not with each clipped before."""
    small = 1e-2  # a difference of 2·small / (2λ) = 1, of the 1.5 that the clip allows
    single = {"method__name": "dp-zo", "method__num_directions": 1, **USERS}
    users = ["one"] * 4 + ["two"] + ["three"] * 4
    differences = [3, 1, 0, 0, 1, 1, 1, 1, 1]
    evaluator = Quadratic({number: difference * small for number, difference in enumerate(differences)})
    sums = [int(step_sum(folder / str(row), [row], evaluator, users=users, **single)[0]) for row in range(3)]
    assert sums == [pytest.approx(GRID_UNITS_PER_CLIP / 1.5, abs=2)] * 3


def check_the_confusion_matrix_moves_by_at_most_what_its_noise_is_for(folder: Path) -> None:
    """The whole of what one example adds, against the sensitivity that noise and event are scaled to."""
    private = {"data__validation": "v.jsonl", "score__on": "private", "score__num_examples": 10}
    labels = {"task__labels": list("abcdef"), "score__metric": "f1", "score__noise_multiplier": 3.0}
    config = run_config(**private, **labels)
    unit = trainers.run.scoring.score_plan(config).grid_unit
    without, with_one = (
        scores(folder / str(count), config, count, FrozenNoise(scale=0.0), times=1)[0] for count in (1, 2)
    )
    moved = (with_one - without) * unit
    assert np.abs(moved).max() == 1.0  # an example counts as one, or the score is not what it says
    residuals = scores(folder / "noise", config, 0, ExactNoise(), times=60).ravel() * unit
    assert stats.kstest(residuals / (3.0 * np.sqrt((moved**2).sum())), "norm").pvalue > 1e-6


def check_the_coin_depends_on_record_and_key_alone(folder: Path) -> None:
    del folder
    records = [{"text": f"review {n}"} for n in range(200)]
    key = bytes(range(32))

    def sides(of: list[dict[str, str]]) -> dict[str, bool]:
        found = trainers.data.split.validates([identity_of_record(record) for record in of], key, 0.5)
        return {record["text"]: side for record, side in zip(of, found, strict=True)}

    known = sides(records)
    assert sides(records) == known
    assert sides(records[::-1]) == known
    assert sides(records[1:]) == {text: known[text] for text in list(known)[1:]}
    assert sides([*records, *records]) == known
    assert 60 < sum(known.values()) < 140


def scores(folder: Path, config: RunConfig, num_examples: int, noise: Noise, times: int) -> np.ndarray:
    """Return the released integers of private scores, int64 [times, K]."""
    units = units_of([example(1)] * num_examples, None)
    with ReleaseLog(folder, {}) as log:
        score = PrivateScore(config, units, LocalTokens(times), log, noise)
        for index in range(times):
            score(Quadratic(), index)
        return np.array(log.releases["score"])


def users_summed(patch: pytest.MonkeyPatch) -> None:
    true_means = trainers.mechanism.units.unit_means

    def sums(values_BK: np.ndarray, sizes: list[int]) -> np.ndarray:
        return true_means(values_BK, sizes) * np.reshape(sizes, (-1, 1))

    patch.setattr(trainers.run.step, "unit_means", sums)


def users_clipped_per_example(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trainers.run.step, "unit_means", lambda values_BK, sizes: values_BK)


def users_clipped_before_the_mean(patch: pytest.MonkeyPatch) -> None:
    true_means = trainers.mechanism.units.unit_means
    patch.setattr(
        trainers.run.step, "unit_means", lambda values_BK, sizes: true_means(np.clip(values_BK, -1.5, 1.5), sizes)
    )


def users_not_grouped(patch: pytest.MonkeyPatch) -> None:
    def ungrouped(examples: list[Example], users: list[str] | None) -> list[Unit]:
        del users
        return units_of(examples, None)

    patch.setattr(trainers.run.zeroth_order, "units_of", ungrouped)


def confusion_matrix_of_sensitivity_one_half(patch: pytest.MonkeyPatch) -> None:
    def halved(config: RunConfig) -> MechanismPlan:
        plan = score_plan(config)
        assert plan.noise_multiplier is not None
        return dataclasses.replace(plan, noise_multiplier=plan.noise_multiplier / 2)

    patch.setattr(trainers.run.scoring, "score_plan", halved)


def confusion_matrix_with_two_cells_an_example(patch: pytest.MonkeyPatch) -> None:
    true_cells = trainers.run.scoring.confusion_cells

    def doubled(*arguments: object) -> np.ndarray:
        cells_BC = true_cells(*arguments)  # pyright: ignore[reportArgumentType]
        return cells_BC + np.roll(cells_BC, 1, axis=1)

    patch.setattr(trainers.run.scoring, "confusion_cells", doubled)
    patch.setattr(
        trainers.run.scoring, "clipped_sum", lambda values, plan: (values.sum(0) / plan.grid_unit).astype(np.int64)
    )


def coin_of_the_place_in_the_file(patch: pytest.MonkeyPatch) -> None:
    def by_place(identities: list[bytes], key: bytes, share: float) -> list[bool]:
        return validates([one + str(place).encode() for place, one in enumerate(identities)], key, share)

    patch.setattr(trainers.data.split, "validates", by_place)


def coin_of_the_data_sets_size(patch: pytest.MonkeyPatch) -> None:
    def by_size(identities: list[bytes], key: bytes, share: float) -> list[bool]:
        return validates(identities, key + str(len(identities)).encode(), share)

    patch.setattr(trainers.data.split, "validates", by_size)


def coin_of_fresh_entropy(patch: pytest.MonkeyPatch) -> None:
    def fresh(identities: list[bytes], key: bytes, share: float) -> list[bool]:
        return validates(identities, secrets.token_bytes(len(key)), share)

    patch.setattr(trainers.data.split, "validates", fresh)


CHECKS: list[Callable[[Path], None]] = [
    check_one_user_moves_a_release_by_at_most_the_clip,
    check_a_users_examples_count_as_their_mean,
    check_the_confusion_matrix_moves_by_at_most_what_its_noise_is_for,
    check_the_coin_depends_on_record_and_key_alone,
]

MISTAKES: list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[Path], None]]] = [
    (users_clipped_per_example, check_one_user_moves_a_release_by_at_most_the_clip),
    (users_not_grouped, check_a_users_examples_count_as_their_mean),
    (users_summed, check_a_users_examples_count_as_their_mean),
    (users_clipped_before_the_mean, check_a_users_examples_count_as_their_mean),
    (confusion_matrix_of_sensitivity_one_half, check_the_confusion_matrix_moves_by_at_most_what_its_noise_is_for),
    (confusion_matrix_with_two_cells_an_example, check_the_confusion_matrix_moves_by_at_most_what_its_noise_is_for),
    (coin_of_the_place_in_the_file, check_the_coin_depends_on_record_and_key_alone),
    (coin_of_the_data_sets_size, check_the_coin_depends_on_record_and_key_alone),
    (coin_of_fresh_entropy, check_the_coin_depends_on_record_and_key_alone),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_true_code_passes(check, tmp_path):
    check(tmp_path)


@pytest.mark.parametrize(("mistake", "check"), MISTAKES, ids=lambda value: value.__name__)
def test_the_mistake_is_found(mistake, check, tmp_path, monkeypatch):
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        check(tmp_path)
