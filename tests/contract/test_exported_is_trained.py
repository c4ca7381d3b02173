"""The model that comes out is the one that was trained: whatever kind it is, whatever trains, and whoever writes it.

Its score is computed again with transformers and PEFT alone, from the exported folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.export import export_model
from orchestrator.sweep.rebuild import publish_best
from orchestrator.sweep.single_run import run_training
from tests.support.models import HEADS, save_model
from trainers.config.mechanism import mechanism_plan
from trainers.evaluators.base import Example
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens
from trainers.workspace import open_run, open_workspace

WORDS = {"label_words": {"0": " terrible", "1": " great"}}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "decoder": ("llama", "causal-lm", {"template": "{text} It was", **WORDS}),
    "encoder": ("roberta", "masked-lm", {"template": "{text} It was [MASK]", **WORDS}),
    "classifier": ("bert", "sequence-classification", {"template": "{text}", "labels": [0, 1]}),
}
TRAINABLE = ("full", "all-linear", "lora")
LORA = {"rank": 2, "alpha": 4}
TEXTS = ("food was very good", "service was not good not", "very very good food", "not food", "It was great", "food")
OTHERS = ("service very good", "It was not", "good good service", "not very great", "terrible food", "was service")
ROWS = {
    name: [{"text": texts[n % 6], "label": n % 2} for n in range(24)]
    for name, texts in (("train", TEXTS), ("public", OTHERS))
}


@pytest.fixture(scope="session")
def bases(tmp_path_factory) -> Path:
    """A base model of every kind, and data."""
    folder = tmp_path_factory.mktemp("bases")
    for name, (architecture, head, _) in KINDS.items():
        save_model(folder / name, architecture, head)
    for name, rows in ROWS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def adapters(bases, tmp_path_factory) -> dict[str, Path]:
    """An adapter of every kind, trained until it says other things than its base."""
    folder = tmp_path_factory.mktemp("adapters")
    return {kind: Path(train(settings(bases, kind, "lora", folder / kind, name="one")).model_folder) for kind in KINDS}


def settings(
    bases: Path, kind: str, trainable: str, folder: Path, *, path: Path | None = None, name: str = "two"
) -> dict[str, Any]:
    _, head, task = KINDS[kind]
    return {
        "name": name,
        "storage_path": str(folder),
        "data": {"train": f"{bases}/train.jsonl", "num_examples": 24, "validation": f"{bases}/public.jsonl"},
        "task": {**task, "label_column": "label", "max_tokens": 20},
        "model": {"path": str(path or bases / kind), "head": head, "trainable": trainable, "lora": LORA},
        "method": {"num_steps": 2, "smoothing": 0.01, "clip_norm": 10, "learning_rate": 0.3, "seed": 7},
        "privacy": {"rounding_share": 0, "noise_multiplier": 1.0, "delta": 1e-5, "expected_batch_size": 8},
        "performance": {"num_threads": 1},
    }


def train(values: dict[str, Any]) -> Any:
    folder = Path(values["storage_path"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    return run_training(make_plan(load_run(folder / "config.json")))


def loaded_by_others(folder: Path, head: str) -> Any:
    auto = getattr(transformers, f"AutoModel{HEADS[head]}")
    adapter = folder / "adapter_config.json"
    if not adapter.exists():
        return auto.from_pretrained(folder).eval()
    base = json.loads(adapter.read_text())["base_model_name_or_path"]
    return PeftModel.from_pretrained(auto.from_pretrained(base), folder).eval()


def scored_by_others(folder: Path, head: str, examples: list[Example]) -> tuple[float, list[float]]:
    """Return the share of right answers, and all scores of all options, one row after the other."""
    model, right, scores = loaded_by_others(folder, head), 0, []
    for example in examples:
        logits = model(input_ids=torch.tensor([example.prompt_ids])).logits[0].detach()
        if example.option_ids:
            place = -1 if example.mask_place is None else example.mask_place
            logits = logits[place, [option[0] for option in example.option_ids]]
        right += int(logits.argmax()) == example.label
        scores += logits.tolist()
    return right / len(examples), scores


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*model.safetensors")
    return load_file(file)


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("start", ["fresh", "adapter"])
@pytest.mark.parametrize("trainable", TRAINABLE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_and_its_export(bases, adapters, tmp_path, kind, trainable, start):
    head = KINDS[kind][1]
    path = adapters[kind] if start == "adapter" else None
    values = settings(bases, kind, trainable, tmp_path, path=path)
    result = train(values)
    examples = open_workspace(load_run(tmp_path / "config.json")).validation
    score, scores = scored_by_others(result.model_folder, head, examples)
    assert score == pytest.approx(result.score)
    export_model(tmp_path / "two", tmp_path / "again")
    assert same_weights(result.model_folder, tmp_path / "again")
    # a run that begins at the exported folder begins at that score
    went_on = settings(bases, kind, trainable, tmp_path / "on", path=result.model_folder, name="three")
    config = tmp_path / "on.json"
    config.write_text(json.dumps(went_on))
    evaluator = open_workspace(load_run(config)).evaluator
    again = [value for of in evaluator.scores(evaluator.prepare(examples), len(examples)) for value in of]  # pyright: ignore
    assert again == pytest.approx(scores, rel=1e-3, abs=1e-4)
    # and the run has moved it
    before = scored_by_others(path or bases / kind, head, examples)[1] if head != "sequence-classification" else None
    assert before != pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize("start", ["fresh", "adapter"])
@pytest.mark.parametrize("trainable", TRAINABLE)
def test_the_winner_of_a_sweep(bases, adapters, tmp_path, trainable, start):
    path = adapters["decoder"] if start == "adapter" else None
    values = settings(bases, "decoder", trainable, tmp_path, path=path)
    space = {"method.learning_rate": {"choices": [0.3, 0.2]}}
    (tmp_path / "config.json").write_text(json.dumps({**values, "search": {"num_trials": 2, "space": space}}))
    plan = make_plan(with_absolute_paths(load_sweep(tmp_path / "config.json")))
    storage, chosen = storage_of(plan.config), {"method.learning_rate": 0.2}
    config = plan.trial(chosen)
    workspace = open_workspace(config)
    tokens = Tokens(LocalTokens(2), LocalTokens(2))
    mechanism = mechanism_plan(config, config.privacy.noise_multiplier)
    run = open_run(RunContext(workspace, config, mechanism, tokens, storage.trial_folder(0)))
    with run.log:
        *_, (steps, score) = run.segments()
    publish_best(plan, storage, TrialRow(0, chosen, steps=steps))
    assert scored_by_others(storage.model_folder, "causal-lm", workspace.validation)[0] == pytest.approx(score)
    workspace.evaluator.export(tmp_path / "kept")  # what the lane held
    assert same_weights(storage.model_folder, tmp_path / "kept")
