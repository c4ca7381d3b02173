"""The options that a model chooses between, as tokens: label words, words at a mask, or each row's own options."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

from trainers.config import TaskConfig
from trainers.data.tokenization import Ids, TextEncoder
from trainers.tasks.labels import Labels, label_of
from trainers.tasks.templates import Template, items_of


def label_options(label_words: Mapping[str, str], text: TextEncoder) -> tuple[Ids, ...]:
    """Return each label word's tokens as they follow a prompt.

    ValueError if a word has no token, is unknown, merges with the prompt's end, or begins with another word.
    """
    return _checked_words(label_words, text.encode_after_prompt(list(label_words.values())), text)


def mask_words(label_words: Mapping[str, str], text: TextEncoder) -> tuple[Ids, ...]:
    """Return each label word's one token after a blank; ValueError if it is several or unknown, or two share it."""
    options = text.encode([f" {word.strip()}" for word in label_words.values()])
    for (label, word), ids in zip(label_words.items(), options, strict=True):
        if len(ids) > 1:
            pieces = ", ".join(repr(piece) for piece in text.pieces(ids))
            raise ValueError(
                f"task.label_words: {word!r} (label {label!r}) is {len(ids)} tokens of this model, {pieces}; a masked "
                "model predicts one. Choose a word that is one token"
            )
    return _checked_words(label_words, options, text)


class RowOptions:
    """Options that each row of a task with `options` brings itself. Rows may have different numbers of them."""

    def __init__(self, task: TaskConfig, text: TextEncoder) -> None:
        self._templates = [Template.parse(option, "task.options") for option in task.options or []]
        self._listed = [template.makes_option_per_item for template in self._templates]
        if any(self._listed) and len(self._templates) > 1:
            raise ValueError("task.options: a template that makes one option per item of a list must be the only one")
        if not any(self._listed) and len(self._templates) < 2:
            raise ValueError(
                "task.options needs at least two templates, or one that uses each item of a list: '{choices|each}'"
            )
        self._label_column = task.label_column or ""
        self._text, self._max_tokens = text, task.max_tokens

    def encode(
        self, rows: Sequence[Mapping[str, Any]], places: Sequence[str]
    ) -> list[tuple[tuple[Ids, ...], tuple[int, ...]]]:
        """Return each row's options, and the numbers of the right ones.

        ValueError if a row has less than two options, no right option, or an option without a token.
        """
        texts, rights = [], []
        for row, where in zip(rows, places, strict=True):
            of_row = self._texts(row, where)
            texts.append(list(of_row.values()))
            rights.append(self._right(row, list(of_row), where))
        encoded = iter(self._text.encode_continuations([text for of_row in texts for text in of_row]))
        of_rows = [tuple(next(encoded)[: self._max_tokens] for _ in of_row) for of_row in texts]
        for options, where in zip(of_rows, places, strict=True):
            if len(options) < 2 or not all(options):
                raise ValueError(f"{where}: at least two options are needed, each with a token; remove such rows")
        return list(zip(of_rows, rights, strict=True))

    def _texts(self, row: Mapping[str, Any], where: str) -> dict[str, str]:
        """Return the options' texts by the key that a label refers to: a number, or the item itself."""
        if any(self._listed):
            return self._templates[0].fill_each(row, where)
        return {str(number): template.fill(row, where) for number, template in enumerate(self._templates)}

    def _right(self, row: Mapping[str, Any], keys: Sequence[str], where: str) -> tuple[int, ...]:
        are_items, column = any(self._listed), self._label_column
        if are_items:
            named = items_of(row, column, where)
            right = tuple(number for number, key in enumerate(keys) if key in named)
        else:
            number = Labels(keys).number_of(label_of(row, column, where))
            right = () if number is None else (number,)
        if not right:
            expected = "one of the row's options" if are_items else f"a number from 0 to {len(keys) - 1}"
            raise ValueError(
                f"{where}: column {self._label_column!r} holds no right option: {expected} is expected. The value is "
                "private and not shown"
            )
        return right


def _checked_words(label_words: Mapping[str, str], encoded: Sequence[Ids | None], text: TextEncoder) -> tuple[Ids, ...]:
    options = [_checked(*named, ids, text) for named, ids in zip(label_words.items(), encoded, strict=True)]
    for (word, ids), (other, other_ids) in permutations(zip(label_words.values(), options, strict=True), 2):
        if other_ids[: len(ids)] == ids:
            how = "has the same tokens as" if other_ids == ids else "is, in tokens, the beginning of"
            raise ValueError(
                f"task.label_words: {word!r} {how} {other!r}, so one does not exclude the other; choose words that "
                "begin with different tokens"
            )
    return tuple(options)


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
