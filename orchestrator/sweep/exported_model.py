"""Exports a model, reads it again from its folder, and compares it with the one that was trained."""

import json
from pathlib import Path

import numpy as np

from orchestrator.storage.files import read_object, write_whole
from trainers.config import RunConfig
from trainers.data.tokenization import load_tokenizer
from trainers.evaluators.base import LossEvaluator
from trainers.evaluators.model_files import ADAPTER_CONFIG
from trainers.mechanism.release_log import Stopped
from trainers.run.context import Workspace
from trainers.workspace import load_evaluator

MAX_DIFFERENCE = {"float32": 1e-4, "bfloat16": 0.05}
"""Of the losses of made-up examples, absolute and relative, where one evaluator computed both."""
MAX_BETWEEN_EVALUATORS = 0.05
"""Another evaluator on another device rounds differently, and weights that are wrong move a loss by far more."""


class ExportDiffers(Stopped):
    """The exported model is not the one that was trained. The release log is kept, and so is the folder."""


def export_and_compare(config: RunConfig, workspace: Workspace, folder: Path) -> None:
    """Write the model at θ and its tokenizer, and close the workspace; read them again, as anyone would, and compare.

    The trained parameters must have the same bits, and `workspace.public` the same losses up to rounding: these depend
    on the frozen weights too. A workspace without such examples is exported and not compared.

    Raises:
        ExportDiffers: they do not.
        OSError: the folder cannot be written.
    """
    evaluator, public = workspace.evaluator, workspace.public
    digest, losses_B = evaluator.state_digest(), evaluator.losses(public) if public else np.empty(0)
    evaluator.export(folder)
    if not public:
        return
    workspace.close()  # memory might not hold two models
    again = _read_again(config, folder)
    try:
        same_bits, read_B = again.state_digest() == digest, again.losses(public)
    finally:
        again.close()
    is_same = config.performance.evaluator == "transformers"
    allowed = MAX_DIFFERENCE[config.model.dtype] if is_same else MAX_BETWEEN_EVALUATORS
    if same_bits and np.allclose(read_B, losses_B, rtol=allowed, atol=allowed, equal_nan=True):
        return
    what = (
        f"on made-up rows its losses differ by up to {np.abs(read_B - losses_B).max():.2g} nats"
        if same_bits
        else "its weights have other bits"
    )
    raise ExportDiffers(
        f"{folder}: the exported model is not the one that was trained: {what}. Do not use it. The release log is "
        "kept, and `dpzo resume` writes the model again. Please report this."
    )


def name_base_model(folder: Path) -> None:
    """Let an exported adapter name its base model without the folders above it, `./model`; a name on the hub stays."""
    file = folder / ADAPTER_CONFIG
    settings = read_object(file) if file.is_file() else {}
    base = settings.get("base_model_name_or_path")
    if isinstance(base, str) and Path(base).exists():
        settings["base_model_name_or_path"] = f"./{Path(base).name}"
        write_whole(file, json.dumps(settings, indent=2, sort_keys=True))


def _read_again(config: RunConfig, folder: Path) -> LossEvaluator:
    """Load the exported model with transformers; on the CPU if an engine trained it, which may still hold its GPU."""
    device = config.performance.device if config.performance.evaluator == "transformers" else "cpu"
    performance = config.performance.model_copy(update={"evaluator": "transformers", "device": device})
    model = config.model.model_copy(update={"path": str(folder)})
    exported = config.model_copy(update={"model": model, "performance": performance})
    return load_evaluator(exported, load_tokenizer(str(folder)))
