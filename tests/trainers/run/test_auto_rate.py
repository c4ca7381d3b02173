"""A learning rate from the noise: noise moves θ by the share that was asked for, whatever the mechanism."""

import numpy as np
import pytest
import torch

from tests.support.frozen import FrozenSampler
from tests.support.quadratic import MATRICES, Quadratic
from tests.support.runs import open_run, run_config
from trainers.evaluators.parameters import Parameters
from trainers.mechanism.tokens import LocalTokens

STEPS = 60


def moved(folder, **changes: object) -> float:
    """Return how far empty batches, which are noise alone, move θ: a share of ‖θ_0‖."""
    evaluator = Quadratic(shapes=MATRICES, start=1.0)
    config = run_config(method__num_steps=STEPS, **{"method__learning_rate": "auto"} | changes)
    start = evaluator.theta
    run = open_run(folder, config, evaluator=evaluator, sampler=FrozenSampler([[]] * STEPS))
    with run.log:
        list(run.segments())
    return float(np.linalg.norm(evaluator.theta - start) / np.linalg.norm(start))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method__clip_norm": 50.0, "method__num_directions": 8},
        {"method__direction": "sphere", "privacy__noise_multiplier": 7.0},
        {"privacy__noise": "laplace", "privacy__expected_batch_size": 5},
        {"method__clip_norm": {"kind": "cosine", "start": 5.0, "end": 0.1}},
        {"method__clip_norm": {"kind": "auto", "start": 0.3}},
    ],
    ids=str,
)
def test_noise_moves_theta_by_the_share_whatever_the_mechanism(tmp_path, changes):
    assert moved(tmp_path, **changes) == pytest.approx(0.1, rel=0.35)


def test_the_share_can_be_chosen(tmp_path):
    assert moved(tmp_path, method__learning_rate={"kind": "auto", "distance": 0.4}) == pytest.approx(0.4, rel=0.35)


def test_a_replay_finds_the_same_rates(tmp_path):
    config = run_config(method__learning_rate="auto", method__clip_norm="auto")
    digests = []
    for tokens in (10, 0):
        evaluator = Quadratic(shapes=MATRICES, start=1.0)
        run = open_run(tmp_path, config, evaluator=evaluator, tokens=LocalTokens(tokens))
        with run.log:
            list(run.segments())
        digests.append(evaluator.state_digest())
    assert digests[0] == digests[1]


def test_the_norm_of_the_base_weights_has_three_digits_and_no_order():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    norms = {
        Parameters({name: values[order].clone()}).base_norm()
        for name, order in (("a", slice(None)), ("b", range(999, -1, -1)))
    }
    assert norms == {float(f"{values.double().norm():.2e}")}


def test_weights_that_are_all_zero_give_no_scale(tmp_path):
    with pytest.raises(ValueError, match="not all 0"):
        open_run(tmp_path, run_config(method__learning_rate="auto"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method__name": "dp-zoso", "method__stage_steps": 5}, "knows no stages"),
        ({"method__name": "dp-zopo", "method__num_directions": 1}, "knows no stages"),
        ({"method__name": "mezo", "method__num_directions": 1, "privacy__noise_multiplier": None}, "MeZO has none"),
    ],
)
def test_where_it_has_no_meaning_it_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        run_config(method__learning_rate="auto", **changes, privacy__rounding_share=None)
