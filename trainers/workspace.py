"""From a configuration to a workspace: everything slow or breakable, in the order in which it is cheapest to fail.

`check_inputs` looks at files, columns, tokenizer, label words and at last at every row, before a model is loaded and
before anything is reserved; `open_workspace` then loads.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainers.config import RunConfig
from trainers.evaluators.base import Example, LossEvaluator
from trainers.evaluators.proof import prove
from trainers.methods.estimator import proof_probes
from trainers.methods.method import smallest_resolution
from trainers.methods.presets import require_size_of_model
from trainers.methods.settings import require_kept
from trainers.run import Workspace
from trainers.tasks.prompts import PromptEncoder, public_examples
from trainers.tasks.sources import check_source, read_rows
from trainers.tasks.tokenization import load_tokenizer

PROOF_EXAMPLES = 4


def check_inputs(config: RunConfig) -> None:
    """Check, without loading a model, that the data can be read and prompted, to the last row.

    Raises:
        ValueError: a file, column, tokenizer, label word or row is missing or unusable; one clear line.
    """
    sources = {"data.train": config.data.train, "data.validation": config.data.validation}
    given = {field: source for field, source in sources.items() if source is not None}
    for field, source in given.items():
        check_source(source, config.task.columns, field)
    if config.score.on == "public" and same_source(config.data.train, config.data.validation):
        raise ValueError(
            "data.validation is the private file itself, and scores on public data are not charged. Give another file, "
            "or score.on: private with score.num_examples."
        )
    encoder = PromptEncoder(config.task, load_tokenizer(config.model.path))
    for field, source in given.items():
        encoder.encode(read_rows(source, config.task.columns, field), field)


def open_workspace(config: RunConfig, *, private: bool = True) -> Workspace:
    """Read and encode the data, load the model, and prove on public examples that its probes work.

    With `private` false no private row is read: there are no training examples, and none to score on unless public.
    """
    tokenizer = load_tokenizer(config.model.path)
    encoder = PromptEncoder(config.task, tokenizer)
    columns = config.task.columns
    examples = encoder.encode(read_rows(config.data.train, columns)) if private else []
    validation: list[Example] = []
    if config.data.validation is not None and (private or config.score.on == "public"):
        rows = read_rows(config.data.validation, columns, "data.validation")
        validation = encoder.encode(rows, "data.validation")
    evaluator, rounding = open_evaluator(config, tokenizer)
    return Workspace(examples, validation, evaluator, rounding)


def open_evaluator(config: RunConfig, tokenizer: Any) -> tuple[LossEvaluator, float]:
    """Load the model, prove on public examples that its probes work, and return it with its rounding in nats."""
    import torch

    from trainers.evaluators.transformers import TransformersEvaluator

    torch.set_num_threads(config.performance.num_threads or os.cpu_count() or 1)
    evaluator = TransformersEvaluator(
        config.model,
        config.performance,
        tokenizer,
        num_labels=len(config.task.label_names),
        seed=config.method.seed,
    )
    method = config.method
    require_size_of_model(method.preset, evaluator.model_size)
    require_kept(method, evaluator.parameter_count)
    examples = public_examples(config.task, tokenizer, PROOF_EXAMPLES)
    probes = proof_probes(method.direction, method.seed, method.direction_rank, smallest_resolution(method)[0])
    return evaluator, prove(evaluator, examples, probes, max_tokens=config.task.max_tokens)


def same_source(first: str, second: str | None) -> bool:
    """Return whether two sources are the same file, also through links, or the same name on the hub."""
    if second is None:
        return False
    if Path(first).exists() and Path(second).exists():
        return Path(first).samefile(second)
    return first == second
