"""Public rows that directions are learned from: rows of `data.public`, or general English sentences made here.

Rows become examples as private rows do, with the task's own template, since a prompt's fixed words are public and fill
much of what a layer reads. An unlabelled row gets the first label: only its text matters then.

Formal guarantees: nothing here reads another source than `data.public`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from trainers.config import RunConfig
from trainers.data.prompts import PromptEncoder, made_up_row
from trainers.data.sources import stream_rows
from trainers.evaluators.base import Example
from trainers.tasks.templates import CONNECTIVES

NUM_ROWS = 128
_STRIDE = 7919  # a prime: it visits every sentence once
GRADIENT_ROWS = 32  # of one public gradient

_SUBJECTS = (
    *("the teacher", "a small company", "our neighbour", "the new law", "this museum", "her brother", "the engine"),
    *("an old friend", "the committee", "that river", "a young doctor", "the report", "my city", "the winter"),
)
_VERBS = (
    *("explains", "has changed", "will follow", "does not need", "remembers", "could improve", "rarely shows"),
    *("was built for", "depends on", "sold", "almost lost", "brings", "describes", "may replace"),
)
_OBJECTS = (
    *("a simple plan", "the long road north", "most of its money", "many good ideas", "the last train", "a quiet life"),
    *("an answer to the question", "two large rooms", "the price of bread", "every map of the coast", "more time"),
    *("a letter from the bank", "the first of three books", "better tools"),
)
_ENDS = (
    *("after the war", "in spite of the weather", "and nobody knows why", "for the first time in years", "by hand"),
    *("because prices fell", "while the others wait", "near the old bridge", "with great care", "on Monday"),
    *("but it is not enough", "as far as we can tell", "before the sun rises", "at a very high cost"),
)


def general_sentences(count: int) -> list[str]:
    """Return different English sentences, the same ones on every machine."""
    parts = (_SUBJECTS, _VERBS, _OBJECTS, _ENDS)
    total = math.prod(map(len, parts))
    sentences = []
    for number in range(count):
        place, words = number * _STRIDE % total, []
        for part in parts:
            place, of_part = divmod(place, len(part))
            words.append(part[of_part])
        sentences.append(f"{' '.join(words).capitalize()}.")
    return sentences


def public_rows(
    config: RunConfig, encoder: PromptEncoder, see: Callable[[dict[str, Any]], None] | None = None
) -> list[Example]:
    """Return the examples that directions are learned from; none where the configuration learns nothing.

    Args:
        config: of the run.
        encoder: makes examples of rows.
        see: is called with every row of data.public, as it is, also with those that are not learned from.

    Raises:
        ValueError: data.public lacks a column or label that is needed, has too few rows, or as for `stream_rows`.
    """
    if not config.uses_public_rows:
        return []
    if config.data.public is None:
        return encoder.encode(_general_rows(config), "general sentences")
    needs_labels = config.method.direction == "public-gradient"
    wanted = config.method.direction_rank * GRADIENT_ROWS if needs_labels else NUM_ROWS
    columns = config.task.columns if needs_labels else config.task.text_columns
    source = stream_rows(config.data.public, columns, "data.public", see)
    rows = list(islice(source, wanted))
    if see is not None:
        deque(source, maxlen=0)
    if needs_labels and len(rows) < wanted:
        raise ValueError(
            f"data.public holds {len(rows)} rows, and {config.method.direction_rank} gradients take {GRADIENT_ROWS} "
            "each: give more rows, or a lower method.direction_rank"
        )
    rows = rows if needs_labels else [{**made_up_row(config.task, 0), **row} for row in rows]
    return encoder.encode(rows, "data.public")


def gradient_batches(examples: Sequence[Example]) -> list[Sequence[Example]]:
    """Return the rows in batches of one gradient each."""
    return [examples[start : start + GRADIENT_ROWS] for start in range(0, len(examples), GRADIENT_ROWS)]


def _general_rows(config: RunConfig) -> list[dict[str, Any]]:
    task, texts = config.task, iter(general_sentences(NUM_ROWS * len(config.task.text_columns)))
    rows = [made_up_row(task, number) for number in range(NUM_ROWS)]
    plain = [name for name in task.text_columns if isinstance(rows[0][name], str) and rows[0][name] not in CONNECTIVES]
    return [{**row, **{name: next(texts) for name in plain}} for row in rows]
