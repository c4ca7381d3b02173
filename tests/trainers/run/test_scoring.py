"""Scores on private examples: what one example or one user can change, in exact integers, and what is made of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.frozen import FrozenNoise
from tests.support.quadratic import Quadratic
from tests.support.runs import run_config
from trainers.config import RunConfig
from trainers.config.mechanism import score_plan
from trainers.evaluators.base import Example
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP
from trainers.mechanism.release_log import ReleaseLog
from trainers.mechanism.tokens import LocalTokens, TokensExhausted
from trainers.mechanism.units import Unit, units_of
from trainers.run.scoring import PrivateScore, public_metrics

LABELS = ["a", "b", "c"]
USERS = {"data__user_column": "user", "data__max_examples_per_user": 2, "data__num_users": 50}


def config_of(metric: str | None = None, **changes: object) -> RunConfig:
    base = {"score__on": "private", "score__num_examples": 10, "data__validation": "v.jsonl", "task__labels": LABELS}
    bound = {"score__loss_bound": 2.0} if metric == "loss" else {}
    return run_config(**{**base, **bound, "score__metric": metric, "score__noise_multiplier": 2.0, **changes})


def one(number: int, label: int = 0) -> Example:
    return Example((number,), (), label)


class Guesser(Quadratic):
    """Predicts an example's number modulo 3; its loss is its number, or what `losses_of` says."""

    def predict(self, batch):
        return np.array([example.prompt_ids[0] % 3 for example in batch], dtype=np.int64)

    def losses(self, batch):
        numbers = [example.prompt_ids[0] for example in batch]
        return np.array([self._special.get(number, float(number)) for number in numbers])


def released(folder, config: RunConfig, units: list[Unit], evaluator=None, noise=None) -> np.ndarray:
    """Return the integers of one score without noise, or with that given."""
    with ReleaseLog(folder / "log.jsonl", {}) as log:
        score = PrivateScore(config, units, LocalTokens(1), log, noise or FrozenNoise(scale=0.0))
        score(evaluator or Guesser(), 0)
        return log.releases["score"][0]


examples = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    examples,
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), min_size=1, max_size=5),
    st.sampled_from([None, "f1", "loss"]),
    st.booleans(),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 1.7, -3.0]),
)
def test_one_example_or_user_moves_a_score_by_at_most_the_clip(
    tmp_path_factory, others, canary, metric, users, canary_loss
):
    config = config_of(metric, **(USERS if users else {}))
    units = units_of([one(*example) for example in others], None)
    added = tuple(one(number + 100, label) for number, label in (canary if users else canary[:1]))
    evaluator = Guesser({example.prompt_ids[0]: canary_loss for example in added})
    folder = tmp_path_factory.mktemp("scores")
    without, with_canary = (
        released(folder / name, config, list(of), evaluator)
        for name, of in (("without", units), ("with", [*units, added]))
    )
    moved = [int(value) for value in with_canary - without]
    assert sum(abs(value) for value in moved) <= GRID_UNITS_PER_CLIP  # in L1, and so in L2
    assert score_plan(config).num_directions == len(moved) == (9 if metric == "f1" else 1)


def test_an_example_adds_one_to_its_own_cell(tmp_path):
    units = units_of([one(4, label=2), one(4, label=2), one(0, label=1)], None)
    cells = released(tmp_path, config_of("recall"), units).reshape(3, 3)
    assert (cells // GRID_UNITS_PER_CLIP).tolist() == [[0, 0, 0], [1, 0, 0], [0, 2, 0]]


def test_of_a_user_the_first_examples_count_as_their_mean(tmp_path):
    units = [(one(0, label=0), one(1, label=0), one(2, label=0)), (one(1, label=1),)]  # right, wrong, not looked at
    config = config_of(**USERS)
    assert released(tmp_path, config, units).tolist() == [GRID_UNITS_PER_CLIP // 2 + GRID_UNITS_PER_CLIP]


def test_a_loss_that_is_no_number_counts_as_the_worst(tmp_path):
    evaluator = Guesser({1: np.nan, 2: np.inf, 3: -np.inf, 4: -1.0, 5: 1.0, 6: 5.0})
    units = units_of([one(number) for number in range(1, 7)], None)
    noisy = released(tmp_path, config_of("loss"), units, evaluator)
    assert noisy.tolist() == [int(3.5 * GRID_UNITS_PER_CLIP)]  # bound, bound, 0, 0, half, bound


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
@pytest.mark.parametrize("metric", ["accuracy", "f1", "loss"])
def test_the_plan_follows_the_law_of_the_steps(metric, noise):
    plan = score_plan(config_of(metric, privacy__noise=noise))
    assert (plan.noise, plan.noise_multiplier, plan.sampling_prob, plan.expected_batch_size) == (noise, 2.0, 1.0, 10.0)
    assert plan.clip_norm == (2.0 if metric == "loss" else 1.0)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "precision", "recall", "loss"])
def test_private_scores_without_noise_are_the_public_ones(tmp_path, metric):
    examples = [one(number % 7, label) for number, label in zip(range(10), [0, 1, 2, 1, 1, 0, 2, 2, 0, 1], strict=True)]
    private = config_of(metric, score__loss_bound=9.0 if metric == "loss" else None)
    public = config_of(metric, score__on="public", score__num_examples=None, score__loss_bound=None)
    units = units_of(examples, None)
    with ReleaseLog(tmp_path / "log.jsonl", {}) as log:
        found = PrivateScore(private, units, LocalTokens(1), log, FrozenNoise(scale=0.0))(Guesser(), 0)
    assert found == pytest.approx(public_metrics(public, Guesser(), examples))
    if metric == "loss":
        mean = np.mean([example.prompt_ids[0] for example in examples])
        assert found["loss"] == pytest.approx(-mean)  # larger is better
    if metric in ("f1", "precision", "recall"):
        assert set(found) == {"accuracy", "f1", "precision", "recall"}  # all for one token


@pytest.mark.parametrize("metric", ["accuracy", "f1", "loss"])
@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_nobody_to_score_on_is_noise_and_no_error(tmp_path, metric, noise):
    units = released(tmp_path, config_of(metric, privacy__noise=noise), [], noise=FrozenNoise(1))
    assert (units != 0).all()


def test_a_score_in_the_log_is_not_drawn_again(tmp_path):
    config, units = config_of("f1"), units_of([one(1), one(2)], None)
    with ReleaseLog(tmp_path / "log.jsonl", {}) as log:
        score = PrivateScore(config, units, LocalTokens(1), log)
        assert score(Guesser(), 0) == score(Guesser({1: 9.0}), 0)
        with pytest.raises(TokensExhausted):
            score(Guesser(), 1)
        assert log.num_reserved["score"] == 1


def test_a_target_text_is_scored_by_likelihood_in_public_and_by_loss_in_private(tmp_path):
    target = {"task__labels": None, "task__label_column": None, "task__target": "{answer}", "model__head": "causal-lm"}
    public = config_of(score__on="public", score__num_examples=None, **target)
    examples = [one(1), one(2)]
    assert public_metrics(public, Guesser(), examples) == {"likelihood": pytest.approx(np.exp(-1.5))}
    private = config_of("loss", score__num_examples=2, **target)
    with ReleaseLog(tmp_path / "log.jsonl", {}) as log:
        score = PrivateScore(private, units_of(examples, None), LocalTokens(1), log, FrozenNoise(scale=0.0))
        assert score(Guesser(), 0) == {"loss": -1.5}
