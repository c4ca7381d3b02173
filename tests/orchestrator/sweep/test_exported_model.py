"""What is exported is read again and compared with what was trained."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from orchestrator.sweep.exported_model import ExportDiffers, export_and_compare
from tests.support.project import write_project
from trainers.config import RunConfig
from trainers.directions import Direction
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.mechanism.release_log import Stopped
from trainers.workspace import check_inputs, open_workspace

MOVE = [(Direction(seed=5, step=0, index=0, kind="gaussian"), 0.05)]
TRAINABLE = ("full", "all-linear", "lora")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"), num_examples=40)


def config_of(project, **model) -> RunConfig:
    values = {**project, "model": {**project["model"], **model}}
    return RunConfig.model_validate({key: value for key, value in values.items() if key != "search"})


def moved(config: RunConfig):
    workspace = open_workspace(config)
    workspace.evaluator.apply(MOVE)
    return workspace


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("trainable", TRAINABLE)
def test_an_export_is_the_trained_model(project, tmp_path, trainable, dtype):
    config = config_of(project, trainable=trainable, dtype=dtype, master_dtype=dtype)
    workspace = moved(config)
    digest = workspace.evaluator.state_digest()
    export_and_compare(config, workspace, tmp_path)
    workspace.close()  # again
    again = open_workspace(config_of(project, path=str(tmp_path), trainable=trainable, dtype=dtype, master_dtype=dtype))
    assert again.evaluator.state_digest() == digest


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_an_export_of_other_weights_is_an_error(project, tmp_path, monkeypatch, trainable):
    export = TransformersEvaluator.export

    def of_the_base(evaluator, folder):
        evaluator.reset()
        export(evaluator, folder)

    monkeypatch.setattr(TransformersEvaluator, "export", of_the_base)
    config = config_of(project, trainable=trainable)
    with pytest.raises(
        ExportDiffers, match=r"not the one that was trained: its weights have other bits\. Do not"
    ) as error:
        export_and_compare(config, moved(config), tmp_path)
    assert isinstance(error.value, Stopped)  # exit code 1, no result


def test_an_export_of_other_frozen_weights_is_an_error(project, tmp_path, monkeypatch):
    export = TransformersEvaluator.export

    def other_embedding(evaluator, folder):
        export(evaluator, folder)
        weights = load_file(folder / "model.safetensors")
        weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"] * 1.1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(TransformersEvaluator, "export", other_embedding)
    config = config_of(project, trainable="all-linear")
    with pytest.raises(ExportDiffers, match=r"on made-up rows its losses differ by up to .* nats"):
        export_and_compare(config, moved(config), tmp_path)


def test_memory_of_the_trained_model_is_free_before_it_is_read_again(project, tmp_path, monkeypatch):
    config = config_of(project)
    workspace = moved(config)
    evaluator = workspace.evaluator
    monkeypatch.setattr(
        "orchestrator.sweep.exported_model._read_again", lambda *_: pytest.fail(str(sorted(vars(evaluator))))
    )
    with pytest.raises(pytest.fail.Exception, match=r"\[\]"):
        export_and_compare(config, workspace, tmp_path)


@pytest.mark.parametrize(
    ("trainable", "says"), [("full", "is merged into it; full trains"), ("lora", "goes on training")]
)
def test_going_on_from_an_adapter_is_said(project, tmp_path, caplog, trainable, says):
    config = config_of(project, trainable="lora")
    export_and_compare(config, moved(config), tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == config.model.path
    assert not caplog.records
    check_inputs(config_of(project, path=str(tmp_path), trainable=trainable))
    assert f"model.path: {tmp_path} is an adapter over {config.model.path}, and {says}" in caplog.text


def test_tensors_of_a_closed_evaluator_are_gone(project):
    workspace = open_workspace(config_of(project))
    workspace.close()
    assert not [value for value in vars(workspace.evaluator).values() if isinstance(value, torch.nn.Module)]
