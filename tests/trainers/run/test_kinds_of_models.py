"""From a configuration to a trained and scored model, for every kind of head and answer."""

import json
from pathlib import Path

import pytest

from tests.support.models import save_model
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.tokens import LocalTokens
from trainers.run.base_run import public_score
from trainers.run.context import RunContext, Tokens
from trainers.run.scoring import public_metrics
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.workspace import check_inputs, open_workspace

ROWS = [
    {
        "text": "food was very good" if n % 2 else "service was not good",
        "label": n % 2,
        "choices": ["great", "not great", "terrible"][: 2 + n % 2],
        "right": ["great"] if n % 2 else ["not great", "terrible"],
        "answers": {"text": ["very good", "good"] if n % 2 else ["not good"]},
    }
    for n in range(24)
]
WORDS = {"label_column": "label", "label_words": {"0": " terrible", "1": " great"}}
KINDS = {
    "words": ("llama", {"template": "{text} It was", **WORDS, "metric": "f1"}, {}),
    "options": ("llama", {"template": "{text}", "label_column": "right", "options": [" {choices|each}"]}, {}),
    "text": ("opt", {"template": "{text} It was", "target": " {answers.text|first}", "metric": "token-f1"}, {}),
    "exact": ("gpt2", {"template": "{text}", "target": " {answers.text|first}", "metric": "exact-match"}, {}),
    "mask": ("roberta", {"template": "{text} It was [MASK]", **WORDS}, {"head": "masked-lm", "dtype": "bfloat16"}),
    "mask-lora": (
        "bert",
        {"template": "[MASK] {text}", **WORDS},
        {"head": "masked-lm", "trainable": "lora", "lora": {"target_modules": ["query", "value"]}},
    ),
    "classes-linear": (
        "bert",
        {"template": "{text}", "label_column": "label", "labels": [0, 1]},
        {"head": "sequence-classification", "trainable": "all-linear"},
    ),
    "classes": (
        "roberta",
        {"template": "{text}", "label_column": "label", "labels": [0, 1], "metric": "f1"},
        {"head": "sequence-classification"},
    ),
}


def configured(folder: Path, kind: str) -> RunConfig:
    architecture, task, model = KINDS[kind]
    save_model(folder / "model", architecture, model.get("head"))
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    shots = {"shots": 10} if kind == "words" else {"num_examples": 24}
    return RunConfig.model_validate(
        {
            "name": kind,
            "data": {"train": str(folder / "train.jsonl"), "validation": str(folder / "validation.jsonl"), **shots},
            "task": {**task, "max_tokens": 20, "max_new_tokens": 4},
            "model": {"path": str(folder / "model"), **model},
            "method": {"num_steps": 3, "num_directions": 2, "smoothing": 0.01, "clip_norm": 10},
            "privacy": {"rounding_share": 0, "noise_multiplier": 1.0, "expected_batch_size": 8},
            "performance": {"num_threads": 1},
        }
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_trains_is_scored_and_replays_to_the_same_bits(tmp_path, kind):
    config = configured(tmp_path, kind)
    check_inputs(config)
    workspace = open_workspace(config)
    assert len(workspace.examples) == config.data.num_examples
    plan = mechanism_plan(config, 1.0)
    run = ZerothOrderRun(RunContext(workspace, config, plan, Tokens(LocalTokens(3), LocalTokens(1)), tmp_path / "run"))
    with run.log:
        ((steps, score),) = run.segments()
    assert steps == 3
    assert score is not None
    assert 0.0 <= score <= 1.0
    trained = workspace.evaluator.state_digest()
    again = ZerothOrderRun(
        RunContext(workspace, config, plan, Tokens(LocalTokens(0), LocalTokens(0)), tmp_path / "run")
    )
    with again.log:
        assert workspace.evaluator.state_digest() != trained
        again.replay()
    assert workspace.evaluator.state_digest() == trained
    assert public_score(config, workspace) == score


def test_right_answers_written_score_one(tmp_path):
    """An evaluator that writes each example's last reference is right by both metrics."""
    config = configured(tmp_path, "text")
    validation = open_workspace(config).validation

    class Writer:
        def generate(self, batch, max_new_tokens):
            assert max_new_tokens == 4
            return [f"The {example.references[-1]}." for example in batch]

    for metric in ("token-f1", "exact-match"):
        task = config.task.model_copy(update={"metric": metric})
        asked = config.model_copy(update={"task": task})
        assert public_metrics(asked, Writer(), validation) == {metric: 1.0}  # pyright: ignore[reportArgumentType]
