"""The first check of an audit on a real model: a small random Llama, which is written, loaded and evaluated as usual.

The run without the canary is taken to its end. For every step t, a second run opens a copy of the first log, cut after
t releases. It replays them, which gives it the same weights, and takes step t with the canary in the batch.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.checks.audit.result import ModelResult
from orchestrator.checks.audit.stub import GivenBatches, NoNoise
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.workspace import open_workspace

WORDS = ["<pad>", "<unk>", "the", "food", "service", "was", "very", "not", "good", "bad", "great", "terrible", "it"]
_OTHERS, _CANARY = range(8), 8
_BATCHES: tuple[tuple[int, ...], ...] = ((), (0,), tuple(_OTHERS), (2, 5), tuple(_OTHERS) * 4)
CANARY_TEXT = "terrible service not good " * 6


def replay_real_model(folder: Path) -> ModelResult:
    """Write the model, replay with and without a canary, and compare the sums up to rounding in the model."""
    config = write_project(folder)
    with closing(open_workspace(config)) as workspace:
        return _replay(workspace, config, folder)


def _replay(workspace: Workspace, config: RunConfig, folder: Path) -> ModelResult:
    plan = mechanism_plan(config, config.privacy.noise_multiplier)
    first = _open(workspace, config, folder / "without", [list(batch) for batch in _BATCHES])
    with first.log:
        list(first.segments())
    lines = first.log.path.read_bytes().splitlines(keepends=True)
    shifts = []
    for step, batch in enumerate(_BATCHES):
        copy = folder / f"with-{step}"
        copy.mkdir()
        (copy / first.log.path.name).write_bytes(b"".join(lines[: 1 + 2 * step]))
        present_K = _one_more(_open(workspace, config, copy, [[*batch, _CANARY]]), step)
        units_K = (present_K - first.log.releases["step"][step]).astype(object)
        shifts.append(float(sum(unit * unit for unit in units_K)) ** 0.5 / GRID_UNITS_PER_CLIP)
    most, norm = max(map(len, _BATCHES)) + 1, config.method.clip_norm * plan.num_directions**0.5
    rounding = most * workspace.rounding / (config.method.smoothing * norm)
    findings = [
        f"step {step}: the canary moved the sum by {shift:.6g} C, not at most 1 C and {rounding:.1g} C of rounding"
        for step, shift in enumerate(shifts)
        if shift > 1.0 + rounding
    ]
    return ModelResult(
        parameters=workspace.evaluator.parameter_count,
        comparisons=len(shifts),
        largest_shift=max(shifts),
        rounding=rounding,
        findings=findings,
    )


def _open(workspace: Workspace, config: RunConfig, folder: Path, batches: list[list[int]]) -> ZerothOrderRun:
    plan = mechanism_plan(config, config.privacy.noise_multiplier)
    tokens = LocalTokens(len(batches))
    context = RunContext(workspace, config, plan, Tokens(tokens, tokens), folder)
    return ZerothOrderRun(context, sampler=GivenBatches(batches), noise=NoNoise())


def _one_more(run: ZerothOrderRun, step: int) -> np.ndarray:
    """Replay the run's log of `step` releases, take one step, and return its release, int64 [K] in units."""
    with run.log:
        for taken, _ in run.segments():
            if taken == step + 1:
                break
    return run.log.releases["step"][step]


def write_project(folder: Path) -> RunConfig:
    """Write a random model and generated reviews into a folder, and return the configuration of a run on them."""
    _write_model(folder / "model")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS[2:], size=int(rng.integers(3, 9)))) for _ in _OTHERS] + [CANARY_TEXT]
    rows = [json.dumps({"text": text, "label": "bad" if "bad" in text else "good"}) for text in texts]
    (folder / "reviews.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    steps = len(_BATCHES)
    values: dict[str, Any] = {
        "name": "audit",
        "data": {"train": str(folder / "reviews.jsonl"), "num_examples": len(texts)},
        "task": {
            "template": "{text} it was",
            "label_column": "label",
            "label_words": {"bad": " terrible", "good": " great"},
            "max_tokens": 40,
        },
        "model": {"path": str(folder / "model")},
        "method": {"name": "dp-aggzo", "num_steps": steps, "num_directions": 4, "smoothing": 0.01, "clip_norm": 0.1},
        "privacy": {"noise_multiplier": 1.0, "expected_batch_size": 4},
        "score": {"times": steps},  # a segment of the run ends after every step
        "performance": {"num_threads": 1},
    }
    return RunConfig.model_validate(values)


def _write_model(folder: Path) -> None:
    """Write a random Llama of 60,000 parameters with a tokenizer of a dozen words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(WORDS),
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=64,
            )
        )
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.ndim > 1:
                tensor.mul_(4.0)  # about the size of trained weights, so that losses differ
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
