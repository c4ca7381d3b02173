"""k examples of each label, chosen by a public key: the few-shot training sets of the papers.

The choice depends on the private file, so it defines the data set and is no part of a private run: epsilon holds for
the selection as the data set. For the file it holds under replacement only: if an example leaves the file, the next
example of its label enters the selection. The rank of an example is a keyed hash of its content, so other changes of
the file do not move the selection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.evaluators.base import Example


def few_shot(examples: Sequence[Example], labels: Sequence[str], shots: int, seed: int) -> list[Example]:
    """Return, for each label, the `shots` examples of smallest keyed hash, in the order of `examples`.

    Formal guarantees:
        Adding or removing one example adds at most one example to the selection and removes at most one, both of its
        label. The order of the file changes the order of the selection only. The ValueError for a label with fewer
        examples does not say how many it has.
    """
    ranked = sorted(range(len(examples)), key=lambda index: _rank(examples[index], seed))
    chosen: set[int] = set()
    for number, label in enumerate(labels):
        of_label = [index for index in ranked if examples[index].label == number][:shots]
        if len(of_label) < shots:
            raise ValueError(f"data.shots: label {label!r} has fewer than {shots} rows; lower data.shots")
        chosen.update(of_label)
    return [examples[index] for index in sorted(chosen)]


def _rank(example: Example, seed: int) -> bytes:
    content = repr((seed, example.prompt_ids, example.option_ids, example.label))
    return hashlib.blake2b(content.encode(), digest_size=16).digest()
