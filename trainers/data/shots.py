"""k examples of each label, chosen by a public key: the few-shot training sets of the papers.

Which examples are chosen depends on the private file, so this belongs to how a data set is defined, not to a private
run: epsilon speaks of the selection as the data set. Of the file itself less is true: whoever leaves it lets the next
example of the same label into the selection, so on the file neighbours differ by replacing one example, not by removing
one. An example's rank is a keyed hash of what it holds, so that no other change of the file moves the selection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def _rank(example: Example, seed: int) -> bytes:
    content = repr((seed, example.prompt_ids, example.option_ids, example.label))
    return hashlib.blake2b(content.encode(), digest_size=16).digest()
