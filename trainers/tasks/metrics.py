"""How many answers are right. On private examples the number itself must not leave without noise (scoring.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainers.evaluators.base import Example


def num_correct(predicted: np.ndarray, examples: Sequence[Example]) -> int:
    """Return how many of `predicted`, option or class numbers, int [B], are right.

    Raises:
        ValueError: not one prediction for each example, or a target text, which leaves nothing to choose between.
    """
    if np.shape(predicted) != (len(examples),):
        raise ValueError(
            f"one prediction for each of {len(examples)} examples is expected; got shape {list(np.shape(predicted))}"
        )
    if any(len(example.option_ids) == 1 for example in examples):
        raise ValueError("a target text is one option, always the likeliest: accuracy needs task.label_words or labels")
    return sum(example.is_right(int(option)) for option, example in zip(predicted, examples, strict=True))


def accuracy(predicted: np.ndarray, examples: Sequence[Example]) -> float:
    """Return the share of right answers, in [0, 1].

    Raises:
        ValueError: as `num_correct`, or no examples.
    """
    if not examples:
        raise ValueError("accuracy of no examples is not defined; give at least one")
    return num_correct(predicted, examples) / len(examples)


def f1(predicted: np.ndarray, examples: Sequence[Example], num_labels: int) -> float:
    """Return the F1 of the last of two labels, the positive one, or the mean of all labels' F1 where there are more.

    A label that is neither predicted nor right anywhere has F1 0 (van Rijsbergen, 1979).

    Raises:
        ValueError: as `accuracy`.
    """
    num_correct(predicted, examples)
    if not examples:
        raise ValueError("F1 of no examples is not defined; give at least one")
    right = np.array([example.label for example in examples])
    labels = [1] if num_labels == 2 else range(num_labels)
    return float(np.mean([_f1_of(predicted == label, right == label) for label in labels]))


def _f1_of(predicted_B: np.ndarray, right_B: np.ndarray) -> float:
    both = predicted_B.sum() + right_B.sum()
    return 2.0 * float((predicted_B & right_B).sum()) / float(both) if both else 0.0
