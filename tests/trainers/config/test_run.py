"""Each combination of settings that would promise something else than it does is refused in one clear line."""

import pytest
from pydantic import ValidationError

from tests.support.runs import plan_of, run_config
from trainers.config import RunConfig
from trainers.config.mechanism import score_plan

PRIVATE = {"data__validation": "v.jsonl", "score__on": "private", "score__num_examples": 30}
SPLIT = {"data__validation_share": 0.2, "score__on": "private"}
USERS = {"data__user_column": "user", "data__max_examples_per_user": 4, "data__num_users": 50}
GUIDED = {"model__trainable": "all-linear", "method__direction": "activation"}
BASIS = {"model__trainable": "lora", "model__lora": {"init": "activation", "train": "b"}}
TARGET = {"task__labels": None, "task__label_column": None, "task__target": "{answer}", "model__head": "causal-lm"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"privacy__delta": 0}, "delta 0 asks for pure epsilon"),
        ({"privacy__noise": "laplace", "privacy__adjacency": "replace-one"}, "accounted under add-or-remove-one only"),
        ({"data__user_column": "user"}, "max_examples_per_user is missing"),
        ({"data__num_users": 50}, "user_column is missing"),
        ({**USERS, "data__num_users": None}, "num_users is missing"),
        ({**USERS, "data__num_users": 101}, "num_users 101 exceeds num_examples 100"),
        ({**USERS, "data__num_users": 19}, "expected_batch_size 20 exceeds data.num_users 19"),
        ({"privacy__expected_batch_size": 101}, "expected_batch_size 101 exceeds data.num_examples 100"),
        ({**SPLIT, "privacy__expected_batch_size": 81}, "exceeds data.num_examples 100 less the validation share, 80"),
        ({**SPLIT, "data__validation": "v.jsonl"}, "validation and validation_share both say"),
        ({**SPLIT, "score__num_examples": 20}, "score.num_examples and data.validation_share both give"),
        ({**SPLIT, "score__on": "public"}, "data.validation_share takes private rows"),
        ({**SPLIT, "privacy__adjacency": "replace-one"}, "needs privacy.adjacency: add-or-remove-one"),
        ({**SPLIT, "method__name": "mezo", "method__num_directions": 1, "privacy__noise_multiplier": None}, "nothing"),
        ({**PRIVATE, "score__num_examples": None}, "score.on: private needs data.validation and score.num_examples"),
        ({**PRIVATE, "data__validation": None}, "score.on: private needs data.validation and score.num_examples"),
        ({**PRIVATE, "score__metric": "loss"}, "needs score.loss_bound"),
        ({**PRIVATE, "score__loss_bound": 2}, "score.loss_bound belongs to score.metric: loss, not accuracy"),
        ({"score__metric": "likelihood"}, "likelihood is that of a target text"),
        ({**TARGET, "score__metric": "f1"}, "score.metric f1 counts right answers, and a target text has none"),
        ({**TARGET, **PRIVATE}, "score.on: private has no likelihood"),
        ({"task__labels": ["a"], "score__metric": "f1"}, "labels needs at least two labels"),
        ({"privacy__spare_scores": 1}, "privacy.spare_scores buys nothing"),
        (
            {"method__direction": "activation"},
            "activation moves linear layers: set model.trainable: all-linear, not full",
        ),
        ({"method__direction": "public-gradient"}, "public-gradient needs data.public"),
        ({"model__lora": {"init": "activation", "train": "b"}}, "activation needs model.trainable: lora, not full"),
        (
            {**GUIDED, "performance__evaluator": "vllm"},
            "activation is for performance.evaluator: transformers",
        ),
        ({**BASIS, "resources__workers": 2}, "directions from public rows take a run without workers"),
        ({**BASIS, "method__direction": "public-gradient", "data__public": "p"}, "two bases: choose one"),
        ({**BASIS, "method__name": "dp-zopo", "method__num_directions": 1}, "leave the mask out"),
    ],
)
def test_contradictions_are_refused(changes, line):
    with pytest.raises(ValidationError) as caught:
        run_config(**changes)
    errors = caught.value.errors()
    assert len(errors) == 1
    assert line in errors[0]["msg"]


def test_a_basis_that_trains_is_refused():
    with pytest.raises(ValidationError, match="it needs train: b"):
        run_config(model__trainable="lora", model__lora={"init": "activation"})


def test_a_basis_is_not_for_gradients():
    settings = run_config(**BASIS).model_dump()
    settings["method"] = {"name": "dp-sgd", "num_steps": 3, "learning_rate": 0.1, "clip_norm": 1.0}
    with pytest.raises(ValidationError, match="init: activation is for zeroth-order methods"):
        RunConfig.model_validate(settings)


def test_a_bfloat16_master_is_for_zeroth_order_methods():
    assert run_config(model__master_dtype="bfloat16").model.master_dtype == "bfloat16"
    settings = run_config(model__master_dtype="bfloat16").model_dump()
    settings["method"] = {"name": "dp-sgd", "num_steps": 3, "learning_rate": 0.1, "clip_norm": 1.0}
    with pytest.raises(
        ValidationError, match=r"model\.master_dtype bfloat16 is for zeroth-order methods, whose updates"
    ):
        RunConfig.model_validate(settings)


def test_pure_epsilon_with_laplace():
    config = run_config(privacy__delta=0, privacy__noise="laplace", **PRIVATE)
    assert plan_of(config).noise == score_plan(config).noise == "laplace"


def test_the_plan_has_the_adjacency():
    assert plan_of(run_config(privacy__adjacency="replace-one")).adjacency == "replace-one"
    assert plan_of(run_config()).adjacency == "add-or-remove-one"


def test_users_are_what_is_sampled_and_counted():
    config = run_config(**USERS)
    assert (config.data.unit, config.sampling_prob) == ("user", 20 / 50)
    assert plan_of(config).expected_batch_size == 20
    assert (run_config().data.unit, run_config().sampling_prob) == ("example", 20 / 100)


@pytest.mark.parametrize(("users", "declared"), [({}, 100), (USERS, 50)])
def test_a_split_divides_the_declared_numbers(users, declared):
    config = run_config(**SPLIT, **users)
    assert config.sampling_prob == pytest.approx(20 / (0.8 * declared), rel=1e-12)
    assert score_plan(config).expected_batch_size == 0.2 * declared
    full = run_config(**{**SPLIT, "data__validation_share": 0.9}, privacy__expected_batch_size=10)
    assert full.sampling_prob == 1.0


def test_a_score_is_what_suits_the_task():
    assert run_config().metric == "accuracy"
    assert run_config(**TARGET).metric == "likelihood"
    assert run_config(**TARGET, **PRIVATE, score__metric="loss", score__loss_bound=3).metric == "loss"
    assert run_config(score__metric="loss").metric == "loss"  # in public without a bound
