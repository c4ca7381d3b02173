"""What a model chooses between, as tokens: label words that all rows share, words at a mask, or a row's own options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

from trainers.config import TaskConfig
from trainers.data.tokenization import Ids, TextEncoder
from trainers.tasks.templates import Template, items_of, text_of


def label_options(label_words: Mapping[str, str], text: TextEncoder) -> tuple[Ids, ...]:
    """Return each label word's tokens as they follow a prompt.

    Raises:
        ValueError: a word that is no token, unknown, or merges with the prompt's end; words that do not exclude each
            other.
    """
    found = text.encode_after_prompt(list(label_words.values()))
    options = [_checked(label, word, ids, text) for (label, word), ids in zip(label_words.items(), found, strict=True)]
    _refuse_overlap(list(label_words.values()), options)
    return tuple(options)


def mask_words(label_words: Mapping[str, str], text: TextEncoder) -> tuple[Ids, ...]:
    """Return each label word's one token, as it stands behind a blank.

    Raises:
        ValueError: a word of several tokens, with its pieces; unknown words; words of the same token.
    """
    found = text.encode([f" {word.strip()}" for word in label_words.values()])
    options = [_checked(label, word, ids, text) for (label, word), ids in zip(label_words.items(), found, strict=True)]
    for (label, word), ids in zip(label_words.items(), options, strict=True):
        if len(ids) > 1:
            pieces = ", ".join(repr(piece) for piece in text.pieces(ids))
            raise ValueError(
                f"task.label_words: {word!r} (label {label!r}) is {len(ids)} tokens of this model, {pieces}; a masked "
                "model predicts one. Choose a word that is one token"
            )
    _refuse_overlap(list(label_words.values()), options)
    return tuple(options)


class RowOptions:
    """Options that every row brings itself; their number may differ from row to row.

    The loss of an example is the cross-entropy over its own options, so rows with few and many stand side by side.

    Args:
        task: with `options`.
        text: the prompt's tokens.
    """

    def __init__(self, task: TaskConfig, text: TextEncoder) -> None:
        self._templates = [Template.parse(option, "task.options") for option in task.options or []]
        self._listed = [template.is_one_an_item for template in self._templates]
        if any(self._listed) and len(self._templates) > 1:
            raise ValueError("task.options: a template that makes an option of each item of a list stands alone")
        if not any(self._listed) and len(self._templates) < 2:
            raise ValueError(
                "task.options needs at least two templates, or one that goes through a list: '{choices|each}'"
            )
        self._label_column = task.label_column or ""
        self._text, self._max_tokens = text, task.max_tokens

    def encode(
        self, rows: Sequence[Mapping[str, Any]], places: Sequence[str]
    ) -> list[tuple[tuple[Ids, ...], tuple[int, ...]]]:
        """Return each row's options and which of them are right.

        Raises:
            ValueError: a row with less than two options, with an option that has no token, or without a right one.
        """
        texts, rights = [], []
        for row, where in zip(rows, places, strict=True):
            of_row = self._texts(row, where)
            texts.append(list(of_row.values()))
            rights.append(self._right(row, list(of_row), where))
        encoded = iter(self._text.encode_continuations([text for of_row in texts for text in of_row]))
        found = [tuple(next(encoded)[: self._max_tokens] for _ in of_row) for of_row in texts]
        for options, where in zip(found, places, strict=True):
            if len(options) < 2 or not all(options):
                raise ValueError(f"{where}: at least two options are needed, each with a token; remove such rows")
        return list(zip(found, rights, strict=True))

    def _texts(self, row: Mapping[str, Any], where: str) -> dict[str, str]:
        """Return the key that a label names an option by, number or item → its text."""
        if any(self._listed):
            return self._templates[0].fill_each(row, where)
        return {str(number): template.fill(row, where) for number, template in enumerate(self._templates)}

    def _right(self, row: Mapping[str, Any], keys: Sequence[str], where: str) -> tuple[int, ...]:
        named = items_of(row, self._label_column, where) if any(self._listed) else None
        right = set(named if named is not None else [text_of(row, self._label_column, where)])
        found = tuple(number for number, key in enumerate(keys) if key in right)
        if not found:
            expected = "one of the row's options" if named is not None else f"a number from 0 to {len(keys) - 1}"
            raise ValueError(
                f"{where}: column {self._label_column!r} holds no right option: {expected} is expected. The value is "
                "private and not shown"
            )
        return found


def _checked(label: str, word: str, ids: Ids | None, text: TextEncoder) -> Ids:
    where = f"task.label_words: {word!r} (label {label!r})"
    if ids is None:
        raise ValueError(
            f"{where} merges with the end of task.template into other tokens; begin it with a space and end the "
            "template without one"
        )
    if not ids:
        raise ValueError(f"{where} has no token in this model's vocabulary; write a word")
    if text.unknown in ids:
        raise ValueError(f"{where} is unknown to the model's tokenizer; choose a word of its vocabulary")
    return ids


def _refuse_overlap(words: Sequence[str], options: Sequence[Ids]) -> None:
    for (word, ids), (other, other_ids) in permutations(zip(words, options, strict=True), 2):
        if other_ids[: len(ids)] == ids:
            how = "has the same tokens as" if other_ids == ids else "is, in tokens, the beginning of"
            raise ValueError(
                f"task.label_words: {word!r} {how} {other!r}, so one does not exclude the other; choose words "
                "whose tokens part ways"
            )
