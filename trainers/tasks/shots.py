"""k examples of each label, chosen by a public key: the few-shot training sets of the papers.

Which examples are chosen depends on the private file, so this belongs to how a data set is defined, not to a private
run: epsilon speaks of the selection as the data set. Of the file itself less is true: whoever leaves it lets the next
example of the same label into the selection, so on the file neighbours differ by replacing one example, not by removing
one. An example's rank is a keyed hash of what it holds, so that no other change of the file moves the selection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.config import DataConfig, TaskConfig
    from trainers.evaluators.base import Example


def few_shot(examples: Sequence[Example], labels: Sequence[str], shots: int, seed: int) -> list[Example]:
    """Return `shots` examples of each label, those of the smallest keyed hash, in their order.

    Formal guarantees:
        Adding or removing one example changes the selection by at most one example that comes and one that goes, both
        of that example's label; the order of the file changes nothing but order.

    Raises:
        ValueError: a label with fewer examples; how many there are is not told.
    """
    ranked = sorted(range(len(examples)), key=lambda index: _rank(examples[index], seed))
    chosen: set[int] = set()
    for number, label in enumerate(labels):
        of_label = [index for index in ranked if examples[index].label == number][:shots]
        if len(of_label) < shots:
            raise ValueError(f"data.shots: label {label!r} has fewer than {shots} rows; lower data.shots")
        chosen.update(of_label)
    return [examples[index] for index in sorted(chosen)]


def with_declared_size(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration's mapping with data.num_examples = shots × labels where shots are given and it is not."""
    data, task = values.get("data"), values.get("task")
    if not isinstance(data, dict) or not isinstance(task, dict) or data.get("num_examples") is not None:
        return values
    labels, shots = task.get("label_words") or task.get("labels"), data.get("shots")
    if not isinstance(shots, int) or not isinstance(labels, (dict, list)):
        return values
    return {**values, "data": {**data, "num_examples": shots * len(labels)}}


def refuse_shots(data: DataConfig, task: TaskConfig) -> None:
    """Check that a selection by label is possible, and that its size is the one declared.

    Raises:
        ValueError: it is not.
    """
    if data.shots is None:
        return
    other = "user_column" if data.user_column else "validation_share" if data.validation_share else None
    if other is not None:
        raise ValueError(f"data.shots and data.{other} divide the rows in different ways: leave one out")
    labels = len(task.label_names)
    if not labels:
        raise ValueError("data.shots chooses by label: it needs task.label_words or task.labels")
    if data.num_examples != data.shots * labels:
        raise ValueError(
            f"data.num_examples {data.num_examples} is not data.shots {data.shots} × {labels} labels = "
            f"{data.shots * labels}: leave it out, or declare that number"
        )


def _rank(example: Example, seed: int) -> bytes:
    content = repr((seed, example.prompt_ids, example.option_ids, example.label))
    return hashlib.blake2b(content.encode(), digest_size=16).digest()
