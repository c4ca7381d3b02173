"""Evaluators of small models, and units of examples of unequal lengths and kinds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.support.models import save_model
from trainers.config import ModelConfig, PerformanceConfig
from trainers.data.tokenization import load_tokenizer
from trainers.evaluators.base import Example
from trainers.evaluators.transformers.evaluator import TransformersEvaluator

ONE_TOKEN = [
    Example((4, 5, 6), ((6,), (7,)), 0),
    Example((7, 8, 9, 4, 5, 10), ((6,), (7,)), 1),
    Example((11,), ((6,), (7,)), 1),
    Example((4, 4, 12, 5), ((6,), (7,)), 0),
]
UNEQUAL_OPTIONS = [
    Example((4, 5, 6), ((6, 8), (7,)), 0),
    Example((7, 8, 9, 4, 5, 10), ((6,), (7,), (9, 9, 4)), 1),
    Example((11, 5), ((6, 7, 8),), 0),
]
CLASSES = [Example(one.prompt_ids, (), one.label) for one in ONE_TOKEN]


@pytest.fixture(scope="session")
def evaluator_of(tmp_path_factory) -> Callable[..., TransformersEvaluator]:
    """Return an evaluator of an architecture; an adapter is moved off zero, where half of its gradient would vanish."""
    torch.set_num_threads(1)
    folders = {}

    def make(architecture: str, trainable: str = "full") -> TransformersEvaluator:
        if architecture not in folders:
            name, _, tied = architecture.partition("-")
            folders[architecture] = save_model(tmp_path_factory.mktemp("model"), name, tied=bool(tied))
        head = "sequence-classification" if architecture == "bert" else "causal-lm"
        path = str(folders[architecture])
        model = ModelConfig.model_validate({"path": path, "trainable": trainable, "head": head})
        evaluator = TransformersEvaluator(model, PerformanceConfig(), load_tokenizer(path), num_labels=2, seed=0)
        if trainable == "lora":
            draw = torch.Generator().manual_seed(0)
            theta = evaluator.parameters.theta()
            evaluator.parameters.assign({n: t + 0.1 * torch.randn(t.shape, generator=draw) for n, t in theta.items()})
        return evaluator

    return make


def examples_of(architecture: str) -> list[Example]:
    return CLASSES if architecture == "bert" else [*ONE_TOKEN, *UNEQUAL_OPTIONS]
