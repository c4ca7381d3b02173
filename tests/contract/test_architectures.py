"""Each architecture with each of its heads trains two steps, is exported, and scores the same when others load it.

Or it is refused, and for the true reason.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from orchestrator.sweep.exported_model import export_and_compare
from tests.support.architectures import save_architecture
from tests.support.models import HEADS
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.evaluators.base import Example
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens
from trainers.run.divergence import Diverged
from trainers.workspace import check_inputs, open_run, open_workspace

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # DeBERTa
CAUSAL, MASKED, CLASSES = HEADS
DECODERS = (
    "Llama",
    "Olmo2",
    "Qwen3",
    "Mistral",
    "Gemma2",
    "Gemma3Text",
    "Phi",
    "Phi3",
    "OPT",
    "GPT2",
    "GPTJ",
    "GPTNeoX",
)
DECODERS += ("Bloom", "Falcon", "StableLm")
ENCODERS = ("Bert", "Roberta", "XLMRoberta", "DistilBert", "Electra", "Albert", "DebertaV2", "ModernBert", "RoFormer")
ENCODERS += ("RemBert",)
TRAIN = [
    *[(name, head) for name in DECODERS for head in (CAUSAL, CLASSES)],
    *[(name, head) for name in ENCODERS for head in (MASKED, CLASSES)],
    *[(name, CLASSES) for name in ("XLM", "T5", "Bart")],
    ("Mamba", CAUSAL),
]
ADAPTED = [("Phi3", CAUSAL), ("DistilBert", CLASSES), ("ModernBert", MASKED), ("DebertaV2", CLASSES)]
DIVERGED = [("Llama", 1e12), ("Llama", 1e24), ("Gemma3Text", 1e24), ("GPT2", 1e24), ("OPT", 1e18), ("Bloom", 1e18)]
SEES_AHEAD = r"sees the tokens that follow, so as model\.head: causal-lm .* Use model\.head: masked-lm"
REFUSED = {
    **{
        (name, CAUSAL): SEES_AHEAD
        for name in ("Bert", "Roberta", "Electra", "XLMRoberta", "RoFormer", "RemBert", "XLM", "XLNet")
    },
    ("XLNet", CLASSES): "depends on its neighbours in the batch",
    ("FNet", MASKED): "depends on its neighbours in the batch",
}
TASKS: dict[str, dict[str, Any]] = {
    CAUSAL: {"template": "{text} It was", "label_words": {"0": " terrible", "1": " great"}},
    MASKED: {"template": "{text} It was [MASK]", "label_words": {"0": " terrible", "1": " great"}},
    CLASSES: {"template": "{text}", "labels": [0, 1]},
}
ROWS = [{"text": "food was very good" if n % 2 else "service was not good not", "label": n % 2} for n in range(12)]


def configured(folder: Path, name: str, head: str, *, lora: bool = False, **method: Any) -> RunConfig:
    folder.mkdir(exist_ok=True)
    save_architecture(folder / "model", name, head)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "public.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:5]))
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "data": {"train": f"{folder}/rows.jsonl", "num_examples": 12, "validation": f"{folder}/public.jsonl"},
            "task": {**TASKS[head], "label_column": "label", "max_tokens": 20},
            "model": {"path": f"{folder}/model", "head": head, "trainable": "lora" if lora else "full"},
            "method": {"num_steps": 2, "smoothing": 0.01, "clip_norm": 10, "learning_rate": 0.1, **method},
            "privacy": {"rounding_share": 0, "noise_multiplier": 1.0, "expected_batch_size": 4},
            "performance": {"num_threads": 1},
        }
    )


def trained(config: RunConfig, folder: Path) -> tuple[Any, float]:
    """Take the run and return its workspace and score."""
    check_inputs(config)
    workspace = open_workspace(config)
    tokens = Tokens(LocalTokens(2), LocalTokens(1))
    run = open_run(RunContext(workspace, config, mechanism_plan(config, 1.0), tokens, folder))
    with run.log:
        ((_, score),) = run.segments()
    assert score is not None
    return workspace, score


def score_by_transformers(folder: Path, head: str, examples: list[Example]) -> float:
    """Return the share of right answers of a model that the library loads, one row after the other."""
    model = getattr(transformers, f"AutoModel{HEADS[head]}").from_pretrained(folder).eval()
    right = 0
    for example in examples:
        logits = model(input_ids=torch.tensor([example.prompt_ids])).logits[0]
        if head != CLASSES:
            place = -1 if example.mask_place is None else example.mask_place
            logits = logits[place, [option[0] for option in example.option_ids]]
        right += int(logits.argmax()) == example.label
    return right / len(examples)


@pytest.mark.parametrize(("name", "head"), TRAIN)
def test_what_is_exported_is_what_was_trained(tmp_path, name, head):
    config = configured(tmp_path, name, head)
    workspace, score = trained(config, tmp_path / "run")
    validation = workspace.validation
    export_and_compare(config, workspace, tmp_path / "out")
    assert score_by_transformers(tmp_path / "out", head, validation) == score


@pytest.mark.parametrize(("name", "head"), ADAPTED)
def test_an_adapter_of_any_architecture_is_exported(tmp_path, caplog, name, head):
    config = configured(tmp_path, name, head, lora=True)
    workspace, _ = trained(config, tmp_path / "run")
    assert ("all layers of its attention are adapted" in caplog.text) == (name != "DebertaV2")
    if name == "DebertaV2":  # a part of the head that PEFT does not know
        assert "base_model.model.pooler.dense.weight" in workspace.evaluator.parameters.theta()
    export_and_compare(config, workspace, tmp_path / "out")


def test_an_architecture_without_attention_asks_which_layers_to_adapt(tmp_path):
    with pytest.raises(ValueError, match=r"no choice for mamba, and the model no attention\. Name layers, .*x_proj"):
        open_workspace(configured(tmp_path, "Mamba", CAUSAL, lora=True))


@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")
@pytest.mark.parametrize(("name", "rate"), DIVERGED)
def test_a_model_that_answers_no_more_stops_its_run(tmp_path, name, rate):
    config = configured(tmp_path, name, CAUSAL, learning_rate=rate)
    with pytest.raises(Diverged, match=r"tiny: after 2 steps the model's output is .*\. Lower method\.learning_rate"):
        trained(config, tmp_path / "run")


def test_a_row_beyond_a_rotary_context_is_refused(tmp_path):
    config = configured(tmp_path, "Llama", CAUSAL)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "food " * 90, "label": 1}) + "\n")
    check_inputs(config)  # cut to 20 tokens
    longer = config.model_copy(update={"task": config.task.model_copy(update={"max_tokens": 70})})
    with pytest.raises(ValueError, match=r"task\.max_tokens: the longest row, .* does not fit the 64 tokens of the"):
        check_inputs(longer)


@pytest.mark.parametrize(("name", "head"), REFUSED)
def test_what_cannot_be_trained_is_refused_for_its_own_reason(tmp_path, name, head):
    config = configured(tmp_path, name, head)
    with pytest.raises(ValueError, match=REFUSED[name, head]) as refusal:
        open_workspace(config)
    assert "\n" not in str(refusal.value)


def test_a_configuration_that_does_not_compute_is_one_line(tmp_path):
    for name, head in (("Llama", CAUSAL), ("Bert", CLASSES)):
        config = configured(tmp_path / name, name, head)
        file = tmp_path / name / "model" / "config.json"
        heads = {"num_attention_heads": 3} if name == "Bert" else {"num_key_value_heads": 2, "num_attention_heads": 1}
        file.write_text(json.dumps({**json.loads(file.read_text()), **heads}))
        with pytest.raises(ValueError, match=r"^model\.path: ") as refusal:
            open_workspace(config)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["Llama", "Bert"])
def test_a_classifier_with_a_decoder_of_its_own_needs_none(tmp_path, name):
    """A model that is no encoder-decoder reads its rows as they are."""
    workspace = open_workspace(configured(tmp_path, name, CLASSES))
    example = Example((4, 3, 5, 3), (), 0)
    (row,) = workspace.evaluator._forward.rows([example])  # pyright: ignore[reportAttributeAccessIssue]
    assert row.ids == example.prompt_ids


@pytest.mark.parametrize("name", ["T5", "Bart"])
def test_a_row_of_an_encoder_decoder_ends_once(tmp_path, name):
    evaluator: Any = open_workspace(configured(tmp_path, name, CLASSES)).evaluator
    ends = [Example((4, 3, 5, 3), (), 0), Example((4, 5), (), 0), Example((4, 5, 3), (), 1)]
    assert [row.ids for row in evaluator._forward.rows(ends)] == [(4, 5, 3)] * 3
    alone = [float(evaluator.losses([example])[0]) for example in ends]
    assert evaluator.losses(ends).tolist() == pytest.approx(alone, abs=1e-5)
