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
from trainers.run import Workspace, method_of
from trainers.tasks.prompts import PromptEncoder, public_examples
from trainers.tasks.shots import few_shot
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
        _examples(config, encoder, source, field)


def open_workspace(config: RunConfig, *, private: bool = True) -> Workspace:
    """Read and encode the data, load the model, and prove on public examples that its probes work.

    With `private` false no private row is read: there are no training examples, and none to score on unless public.
    """
    tokenizer = load_tokenizer(config.model.path)
    encoder = PromptEncoder(config.task, tokenizer)
    examples = _examples(config, encoder, config.data.train, "data.train") if private else []
    validation: list[Example] = []
    if config.data.validation is not None and (private or config.score.on == "public"):
        validation = _examples(config, encoder, config.data.validation, "data.validation")
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
    examples = public_examples(config.task, tokenizer, PROOF_EXAMPLES)
    probes = method_of(config).propose(0)[:2]
    return evaluator, prove(evaluator, examples, probes, max_tokens=config.task.max_tokens)


def _examples(config: RunConfig, encoder: PromptEncoder, source: str, field: str) -> list[Example]:
    """Return a source's examples; of the training data the few that data.shots chooses."""
    examples = encoder.encode(read_rows(source, config.task.columns, field), field)
    if not examples:
        raise ValueError(f"{field}: every row of {source} has a label that task.skip_labels leaves out")
    if config.data.shots is None or field != "data.train":
        return examples
    return few_shot(examples, config.task.label_names, config.data.shots, config.data.shots_seed)


def same_source(first: str, second: str | None) -> bool:
    """Return whether two sources are the same file, also through links, or the same name on the hub."""
    if second is None:
        return False
    if Path(first).exists() and Path(second).exists():
        return Path(first).samefile(second)
    return first == second
