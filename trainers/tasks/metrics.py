"""How many answers are right. On private examples the number itself must not leave without noise (scoring.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainers.evaluators.base import Example


def num_correct(predicted: np.ndarray, examples: Sequence[Example]) -> int:
    """Return how many of `predicted`, option or class numbers, int [B], are the examples' labels.

    Raises:
        ValueError: not one prediction for each example, or a target text, which leaves nothing to choose between.
    """
    if np.shape(predicted) != (len(examples),):
        raise ValueError(
            f"one prediction for each of {len(examples)} examples is expected; got shape {list(np.shape(predicted))}"
        )
    if any(len(example.option_ids) == 1 for example in examples):
        raise ValueError("a target text is one option, always the likeliest: accuracy needs task.label_words or labels")
    labels = np.array([example.label for example in examples], dtype=np.int64)
    return int((np.asarray(predicted) == labels).sum())


def accuracy(predicted: np.ndarray, examples: Sequence[Example]) -> float:
    """Return the share of right answers, in [0, 1].

    Raises:
        ValueError: as `num_correct`, or no examples.
    """
    if not examples:
        raise ValueError("accuracy of no examples is not defined; give at least one")
    return num_correct(predicted, examples) / len(examples)
