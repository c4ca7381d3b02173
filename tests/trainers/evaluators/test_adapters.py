"""Adapters: one that goes on training, one that is merged, and all that PEFT makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.support.models import save_model, tokenizer
from trainers.config import ModelConfig, PerformanceConfig
from trainers.directions import Direction
from trainers.evaluators.base import Example
from trainers.evaluators.transformers.evaluator import TransformersEvaluator

CLASSES = [Example((4, 5, 6, 9), (), 0), Example((11, 5), (), 1)]
EXAMPLES = [Example((4, 5, 6, 9), ((7,), (6,)), 0), Example((11, 5), ((6,), (7,)), 1)]
MOVE = [(Direction(seed=5, step=0, index=0, kind="gaussian"), 0.05)]
LORA = {"rank": 4, "alpha": 8}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("base") / "model", "llama")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, base) -> Path:
    """An adapter of rank 4 that changes what the base model says, with its tokenizer."""
    return save_adapter(base, tmp_path_factory.mktemp("adapter"))


def save_adapter(base: Path, folder: Path, *, auto: Any = AutoModelForCausalLM, task="CAUSAL_LM", **settings) -> Path:
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **settings}
    start = {"init_lora_weights": False, **settings}
    adapted = get_peft_model(auto.from_pretrained(base), LoraConfig(task_type=task, **start))
    adapted.peft_config["default"].init_lora_weights = True
    adapted.save_pretrained(folder, save_embedding_layers=False)
    tokenizer().save_pretrained(folder)
    return folder


def opened(path: Path, *, head: str = "causal-lm", seed: int = 3, **model: Any) -> TransformersEvaluator:
    config = ModelConfig.model_validate({"path": str(path), "head": head, **model})
    return TransformersEvaluator(config, PerformanceConfig(num_threads=1), tokenizer(), num_labels=2, seed=seed)


def said_by_peft(base: Path, adapter: Path) -> np.ndarray:
    """Return the scores of the first example's options by the libraries alone."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    with torch.inference_mode():
        return scores(model)


def scores(model: Any) -> np.ndarray:
    with torch.inference_mode():
        logits_V = model(input_ids=torch.tensor([EXAMPLES[0].prompt_ids])).logits[0, -1]
    return logits_V[[7, 6]].double().numpy()


def scores_of(evaluator: TransformersEvaluator) -> np.ndarray:
    with torch.inference_mode():
        return evaluator.scores(evaluator.prepare(EXAMPLES), 2)[0]


@pytest.mark.parametrize("trainable", ["full", "all-linear", "lora"])
def test_a_run_begins_at_the_adapter_and_exports_what_it_trained(tmp_path, base, adapter, trainable):
    evaluator = opened(adapter, trainable=trainable, lora=LORA)
    np.testing.assert_allclose(scores_of(evaluator), said_by_peft(base, adapter), atol=1e-5)
    evaluator.apply(MOVE)
    evaluator.parameters.settle()
    trained = scores_of(evaluator)
    evaluator.export(tmp_path)
    if trainable == "lora":
        again = said_by_peft(base, tmp_path)
    else:
        assert not (tmp_path / "adapter_config.json").exists()
        again = scores(AutoModelForCausalLM.from_pretrained(tmp_path).eval())
    np.testing.assert_allclose(again, trained, atol=1e-5)
    assert np.abs(trained - said_by_peft(base, adapter)).max() > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"v_proj": 32}},
        {"target_modules": ["embed_tokens", "down_proj"]},
    ],
)
def test_a_merge_adds_what_peft_adds(tmp_path, base, settings):
    adapter = save_adapter(base, tmp_path, **settings)
    np.testing.assert_allclose(scores_of(opened(adapter)), said_by_peft(base, adapter), atol=1e-5)


def test_a_merge_transposes_the_layers_of_gpt2(tmp_path):
    base = save_model(tmp_path / "base", "gpt2")
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    np.testing.assert_allclose(scores_of(opened(adapter)), said_by_peft(base, adapter), atol=1e-5)


@pytest.mark.parametrize("trainable", ["full", "all-linear", "lora"])
def test_a_classifier_goes_on_with_the_head_of_its_adapter(tmp_path, trainable):
    base = save_model(tmp_path / "base", "roberta", "masked-lm")
    auto, names = AutoModelForSequenceClassification, ["query", "value"]
    adapter = save_adapter(base, tmp_path / "adapter", auto=auto, task="SEQ_CLS", target_modules=names)
    first = opened(adapter, head="sequence-classification", trainable=trainable, lora=LORA)
    second = opened(adapter, head="sequence-classification", trainable=trainable, lora=LORA, seed=4)
    np.testing.assert_array_equal(first.losses(CLASSES), second.losses(CLASSES))  # the seed draws nothing
    expected = PeftModel.from_pretrained(auto.from_pretrained(base, num_labels=2), adapter).eval()
    with torch.inference_mode():
        scored = first.scores(first.prepare(CLASSES), 2)[0]
        logits = expected(input_ids=torch.tensor([EXAMPLES[0].prompt_ids])).logits[0]
    np.testing.assert_allclose(scored, logits.double().numpy(), atol=1e-5)
    assert any("dense" in name for name in first.parameters.theta())


@pytest.mark.parametrize(
    ("settings", "lora", "says"),
    [
        (
            {},
            {"rank": 8, "alpha": 8},
            r"asks for rank 8 and alpha 8, and model\.path is an adapter of rank 4 .*set mod",
        ),
        ({}, {**LORA, "target_modules": ["q_proj"]}, r"over q_proj, v_proj\. To go on"),
        ({"use_dora": True}, LORA, r"no plain LoRA adapter \(use_dora\): merge it .* merge_and_unload"),
        ({"use_rslora": True}, LORA, "no plain LoRA adapter"),
        ({"bias": "all"}, LORA, "no plain LoRA adapter"),
    ],
)
def test_an_adapter_that_cannot_go_on_is_refused(tmp_path, base, settings, lora, says):
    with pytest.raises(ValueError, match=says):
        opened(save_adapter(base, tmp_path, **settings), trainable="lora", lora=lora)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_a_tied_embedding_takes_no_merge(tmp_path):
    base = save_model(tmp_path / "base", "llama", tied=True)
    for number, settings in enumerate(({"target_modules": ["embed_tokens"]}, {"modules_to_save": ["embed_tokens"]})):
        adapter = save_adapter(base, tmp_path / f"adapter{number}", **settings)
        with pytest.raises(ValueError, match="uses in two places"):
            opened(adapter)


def test_a_folder_that_is_no_whole_adapter_is_refused(tmp_path, base, adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    settings = json.loads((adapter / "adapter_config.json").read_text())

    def changed(weights=weights, **more) -> Path:
        save_file(weights, tmp_path / "adapter_model.safetensors")
        (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, **more}))
        return tmp_path

    lacking = dict(list(weights.items())[1:])
    refused = {
        r"the adapter in .* lacks 1 weights": (lacking, {}),
        r"names another adapter\. Merge": (weights, {"base_model_name_or_path": str(adapter)}),
        r"should name a whole model; it names None": (weights, {"base_model_name_or_path": None}),
        r"its base model .*/gone is not there\. Write where": (
            weights,
            {"base_model_name_or_path": f"{tmp_path}/gone"},
        ),
        r"no plain LoRA adapter \(of_next_year\)": (weights, {"of_next_year": True}),
        r"an adapter of another kind than LoRA": (weights, {"peft_type": "IA3", "feedforward_modules": []}),
    }
    for says, (tensors, more) in refused.items():
        with pytest.raises(ValueError, match=says):
            opened(changed(tensors, **more))
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"model\.path: no adapter could be loaded"):
        opened(tmp_path)
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(tmp_path)
    changed()
    with pytest.raises(ValueError, match="holds a whole model and an adapter"):
        opened(tmp_path)


@pytest.mark.parametrize(("architecture", "name"), [("llama", "embed_tokens"), ("gpt2", "wte")])
def test_all_that_peft_makes_is_seeded_and_trained(tmp_path, architecture, name):
    base = save_model(tmp_path / "base", architecture)
    layer = "q_proj" if architecture == "llama" else "c_attn"
    lora = {"rank": 2, "target_modules": [name, layer]}
    evaluator = opened(base, trainable="lora", lora=lora)
    torch.rand(5)  # the library's state does not enter
    assert opened(base, trainable="lora", lora=lora).state_digest() == evaluator.state_digest()
    assert opened(base, trainable="lora", lora=lora, seed=4).state_digest() != evaluator.state_digest()
    before = scores_of(evaluator)
    evaluator.apply(MOVE)
    evaluator.parameters.settle()
    moved = {part: tensor for part, tensor in evaluator.parameters.theta().items() if "lora_embedding" in part}
    assert len(moved) == 2
    trained = scores_of(evaluator)
    assert np.abs(trained - before).max() > 1e-3
    evaluator.export(tmp_path / "out")
    np.testing.assert_allclose(said_by_peft(base, tmp_path / "out"), trained, atol=1e-5)


def test_a_name_that_matches_nothing_is_refused(base):
    with pytest.raises(
        ValueError, match=r"lora\.target_modules: no module of the model is called 'v_prj'\. Its .* v_proj"
    ):
        opened(base, trainable="lora", lora={"target_modules": ["q_proj", "v_prj"]})
