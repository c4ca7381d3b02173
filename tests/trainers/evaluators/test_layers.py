"""Which layers move: chosen by number, from the end, or by inference on made-up tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, BartConfig, BartForSequenceClassification

from tests.support.models import save_model, tokenizer
from trainers.config import LoraConfig, ModelConfig, PerformanceConfig
from trainers.directions import Direction
from trainers.evaluators.base import Example, Probe
from trainers.evaluators.layers import chosen_layers
from trainers.evaluators.transformers.evaluator import TransformersEvaluator

Z = Direction(1, 0, 0, "gaussian")


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), "llama")


def opened(path: Path, layers: Any, trainable: str = "full", **more: Any) -> TransformersEvaluator:
    values = {"path": str(path), "layers": layers, "trainable": trainable, "lora": LoraConfig(rank=2), **more}
    model = ModelConfig.model_validate(values)
    return TransformersEvaluator(model, PerformanceConfig(), tokenizer(), num_labels=2, seed=0)


@pytest.mark.parametrize("trainable", ["full", "all-linear", "lora"])
@pytest.mark.parametrize(("layers", "number"), [([0], 0), ("last-1", 1), ([1, 1], 1)])
def test_only_the_chosen_layers_move(llama, trainable, layers, number):
    names = opened(llama, layers, trainable).parameters.theta()
    assert names
    assert all(f"layers.{number}." in name for name in names)


def test_a_step_leaves_other_layers_as_they_are(llama, tmp_path):
    evaluator = opened(llama, "last-1")
    examples = [Example((2, 10, 4), ((7,), (6,)), 0)]
    assert evaluator.losses(examples) != evaluator.probe(examples, [Probe(Z, 0.1)])[0]
    evaluator.apply([(Z, 0.1)])
    evaluator.export(tmp_path)
    before, after = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (llama, tmp_path))
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert moved == set(evaluator.parameters.theta())


def test_a_classification_head_moves_whatever_the_layers(tmp_path):
    folder = save_model(tmp_path, "bert")
    for trainable in ("full", "all-linear", "lora"):
        names = opened(
            folder,
            [1],
            trainable,
            head="sequence-classification",
            lora=LoraConfig(rank=2, target_modules=["query"]),
        ).parameters.theta()
        assert {name.rpartition("classifier.")[2] for name in names if "classifier" in name} == {"weight", "bias"}
        assert not any("layer.0." in name or "embeddings" in name for name in names)


def test_what_stands_behind_the_layers_is_the_head(llama, tmp_path):
    assert {*opened(llama, "head").parameters.theta()} == {"model.norm.weight", "lm_head.weight"}
    tied = save_model(tmp_path / "tied", "llama", tied=True)
    assert {*opened(tied, "head").parameters.theta()} == {"model.norm.weight"}
    bert = save_model(tmp_path / "bert", "bert")
    names = opened(bert, "head", head="sequence-classification").parameters.theta()
    assert {name.partition(".")[0] for name in names} == {"bert", "classifier"}
    assert not any("layer." in name or "embeddings" in name for name in names)
    with pytest.raises(ValueError, match=r"^model\.layers: head names nothing: a opt model"):
        opened(save_model(tmp_path / "opt", "opt", tied=True), "head")
    with pytest.raises(ValidationError, match="set trainable: full"):
        opened(llama, "head", "lora")


@pytest.mark.parametrize("number", [0, 1])
def test_the_outlier_layer_is_the_one_that_makes_large_activations(llama, number):
    model = AutoModelForCausalLM.from_pretrained(llama).eval()
    model.model.layers[number].mlp.down_proj.weight.data[3] *= 1e4
    assert chosen_layers(model, "outlier") == [number]


@pytest.mark.parametrize("layers", ["last-3", [2], [0, 7]])
def test_layers_that_are_not_there_are_refused(llama, layers):
    with pytest.raises(ValueError, match=r"^model\.layers: .* the model has 0 to 1$"):
        opened(llama, layers)


@pytest.mark.parametrize("layers", ["first-2", "last-0", "", [], [-1]])
def test_layers_that_name_nothing_are_refused(llama, layers):
    with pytest.raises(ValidationError):
        ModelConfig.model_validate({"path": str(llama), "layers": layers})


def test_a_model_of_two_stacks_is_refused():
    shape = BartConfig(
        vocab_size=20,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=8,
        num_labels=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    model = BartForSequenceClassification(shape)
    with pytest.raises(ValueError, match=r"^model\.layers: a bart model has no single list of equal layers"):
        chosen_layers(model, "last-1")


def test_fewer_layers_are_a_smaller_problem(llama):
    sizes = [opened(llama, layers, "all-linear").parameter_count for layers in ("all", [0, 1], [0])]
    assert np.array_equal(sizes, [sizes[0], sizes[0], sizes[0] // 2])
