"""Every weight but a new head's comes from the checkpoint, or the checkpoint is refused for its own reason."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.models import save_model
from trainers.config import ModelConfig
from trainers.evaluators.loading import load_model

HEADS = {"llama": "causal-lm", "bert": "masked-lm", "roberta": "masked-lm"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: save_model(folder / name, name, head) for name, head in HEADS.items()}


@pytest.fixture
def changed(tmp_path, whole) -> Callable[..., Path]:
    """Copy a model with other weights, named by a function of (name, tensor), or other settings in its config.json."""

    def change(architecture: str, of: Callable[[str, torch.Tensor], Any] | None = None, **config: Any) -> Path:
        shutil.copytree(whole[architecture], tmp_path, dirs_exist_ok=True)
        if of is not None:
            pairs = (of(*pair) for pair in load_file(tmp_path / "model.safetensors").items())
            save_file(dict(pair for pair in pairs if pair), tmp_path / "model.safetensors", metadata={"format": "pt"})
        settings = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**settings, **config}))
        return tmp_path

    return change


def load(path: Path, head: str, seed: int = 3, **model: Any) -> Any:
    config = ModelConfig.model_validate({"path": str(path), "head": head, **model})
    return load_model(config, num_labels=3, pad_token_id=0, seed=seed, device="cpu")


def weights(path: Path, head: str, **model: Any) -> dict[str, torch.Tensor]:
    return dict(load(path, head, **model).named_parameters())


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("architecture", ["llama", "bert"])
@pytest.mark.parametrize("classifies", [False, True])
def test_the_names_of_wrappers_are_stripped_and_this_is_said(whole, changed, caplog, architecture, wrapper, classifies):
    head = "sequence-classification" if classifies else HEADS[architecture]
    expected = weights(whole[architecture], head)
    assert not caplog.records
    found = weights(changed(architecture, lambda name, tensor: (wrapper + name, tensor)), head)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert "was saved inside a wrapper (" + wrapper in caplog.text


def test_a_wrapper_inside_a_name_is_stripped(whole, changed):
    found = weights(
        changed("llama", lambda name, tensor: (name.replace("layers.1", "layers.1._orig_mod"), tensor)), "causal-lm"
    )
    assert all(torch.equal(found[name], tensor) for name, tensor in weights(whole["llama"], "causal-lm").items())


@pytest.mark.parametrize("head", ["masked-lm", "sequence-classification"])
def test_a_checkpoint_that_lacks_weights_is_refused_with_every_head(changed, head):
    path = changed("bert", lambda name, tensor: (name, tensor) if ".layer.1." not in name else None)
    with pytest.raises(ValueError, match=r"lacks 16 weights of a .* \(bert\.encoder\.layer\.1\..* is missing\), which"):
        load(path, head)


@pytest.mark.parametrize("head", ["causal-lm", "sequence-classification"])
def test_a_checkpoint_of_other_shapes_is_refused_with_every_head(changed, head):
    with pytest.raises(ValueError, match=r"\(model\.layers\.0\.mlp\.\w+\.weight has the shape .*96.* instead of .*80"):
        load(changed("llama", intermediate_size=80), head)


def test_only_the_head_is_new_and_it_is_the_same_for_a_seed(whole):
    first, same, other = (load(whole["bert"], "sequence-classification", seed) for seed in (3, 3, 4))
    differ = {name for name, tensor in first.named_parameters() if not torch.equal(tensor, other.get_parameter(name))}
    assert differ == {"bert.pooler.dense.weight", "classifier.weight"}
    assert all(torch.equal(tensor, same.get_parameter(name)) for name, tensor in first.named_parameters())


def test_an_adapter_saves_and_trains_a_pooler_that_is_new(whole):
    model = load(whole["bert"], "sequence-classification", trainable="lora")
    saved = model.peft_config["default"].modules_to_save
    assert saved is not None
    assert {"pooler", "classifier"} <= set(saved)


def test_a_head_of_another_size_is_made_anew(whole, tmp_path):
    load(whole["roberta"], "sequence-classification").save_pretrained(tmp_path)  # three classes
    config = ModelConfig(path=str(tmp_path), head="sequence-classification")
    model = load_model(config, num_labels=2, pad_token_id=0, seed=3, device="cpu")
    assert model.classifier.out_proj.weight.shape[0] == 2
    assert torch.equal(model.classifier.dense.weight, load(tmp_path, "sequence-classification").classifier.dense.weight)


@pytest.mark.parametrize("head", ["causal-lm", "sequence-classification"])
def test_weights_that_are_no_numbers_are_named(changed, head):
    def broken(name, tensor):
        return name, tensor.index_fill(0, torch.tensor([0]), torch.nan) if name.endswith(
            "1.mlp.up_proj.weight"
        ) else tensor

    with pytest.raises(ValueError, match=r"1 weights of .* hold NaN or infinity \(model\.layers\.1\.mlp\.up_proj"):
        load(changed("llama", broken), head)


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8", "mxfp4"])
def test_quantised_weights_are_refused_by_name(changed, method):
    path = changed("llama", quantization_config={"quant_method": method, "bits": 4, "load_in_4bit": True})
    with pytest.raises(ValueError, match=rf"are quantised \({method}\), and directions cannot move") as refusal:
        load(path, "causal-lm")
    assert "\n" not in str(refusal.value)


class Code:
    def __reduce__(self):
        return (print, ("it ran",))


def test_damaged_files_are_one_line_and_run_nothing(changed, tmp_path, capsys):
    lines = []

    def refused(head: str = "causal-lm") -> None:
        with pytest.raises(ValueError, match=r"^model\.path: ") as refusal:
            load(tmp_path, head)
        lines.append(str(refusal.value))

    for value in ("many", None, -3, 0):
        changed("llama", hidden_size=value)
        refused()
    changed("llama", dtype="float99")
    refused()
    changed("llama", vocab_size="x")
    refused()
    changed("llama")
    (tmp_path / "config.json").write_text("[]")
    refused()
    (tmp_path / "config.json").write_text("{" * 2000)
    refused()
    changed("llama")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:5000])
    refused()
    (tmp_path / "model.safetensors").unlink()
    refused("sequence-classification")
    with open(tmp_path / "pytorch_model.bin", "wb") as file:
        pickle.dump({"x": Code()}, file)
    refused()
    assert all("\n" not in line for line in lines)
    assert "it ran" not in capsys.readouterr().out


@pytest.mark.parametrize("own", [-1, 32000, 5, None])
def test_a_classifier_looks_for_the_padding_that_rows_have(changed, own):
    model = load(changed("llama", pad_token_id=own), "sequence-classification")
    assert model.config.pad_token_id == 0


def test_a_model_that_counts_its_positions_from_its_padding_keeps_it(changed):
    model = load(changed("roberta", pad_token_id=5), "sequence-classification")
    assert model.config.pad_token_id == 5


def test_gguf_needs_its_reader(tmp_path, monkeypatch):
    monkeypatch.setattr("trainers.evaluators.model_files.find_spec", lambda name: None)
    (tmp_path / "model-q4.gguf").write_bytes(b"GGUF\x03\0\0\0")
    for path in (tmp_path, tmp_path / "model-q4.gguf"):
        with pytest.raises(ValueError, match="is in GGUF format, and the library that reads it is not installed: pip"):
            load(path, "causal-lm")
