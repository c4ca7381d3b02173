"""Rows → prepared examples: the template filled, tokenised, cut; the right answer found.

| task          | prompt                                   | options                             | label          |
|---------------|------------------------------------------|-------------------------------------|----------------|
| `label_words` | bos where the tokenizer adds one, text   | one for each label word             | which is right |
| `target`      | the same                                 | one: the text, and eos if there is  | 0              |
| `labels`      | as the tokenizer does, [CLS] text [SEP]  | none: a classification head         | class          |

A prompt longer than `max_tokens`, special tokens included, loses the beginning of its text: its end, where the question
stands, and its special tokens stay. A target longer than `max_tokens` loses its end, and then has no eos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

from trainers.config import TaskConfig
from trainers.evaluators.base import Example
from trainers.tasks.templates import Template, text_of
from trainers.tasks.tokenization import Ids, TextEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PUBLIC_TEXTS = (
    "a short film about the sea",
    "the soup was cold and the waiter was late",
    "every chapter is better than the one before",
    "two hours of rain and nothing to read",
    "a quiet village in the mountains",
    "the sound is loud, the picture is dark",
    "it works on the first day and on the last",
)
_LABELS_SHOWN = 12


class PromptEncoder:
    """Encodes the rows of one task for one model.

    Args:
        task: template and kind of target.
        tokenizer: of the model.

    Raises:
        ValueError: an unusable template; label words that are no tokens, unknown to the tokenizer, merge with the
            prompt's end, or do not exclude each other; a `max_tokens` that leaves no room for text.

    Formal guarantees:
        An example depends on its own row, the task and the tokenizer, and on no other row: adding or removing a row
        changes no other example. Errors tell a row's number, never what it holds.
    """

    def __init__(self, task: TaskConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self._task = task
        self._template = Template.parse(task.template, "task.template")
        self._target = None if task.target is None else Template.parse(task.target, "task.target")
        if task.label_column in self._template.columns:
            raise ValueError(
                f"task.template holds the label column {task.label_column!r}: the prompt would tell the answer"
            )
        self._text = TextEncoder(
            tokenizer, self._template.fill(_public_row(self._template.columns, 0), "task.template")
        )
        self._suffix = self._text.suffix if task.labels is not None else ()
        self._room = task.max_tokens - len(self._text.prefix) - len(self._suffix)
        if self._room < 1:
            raise ValueError(
                f"task.max_tokens {task.max_tokens} leaves no room for text beside the tokenizer's "
                f"{task.max_tokens - self._room} special tokens"
            )
        self._label_index = {label: index for index, label in enumerate(task.label_names)}
        self._options = self._label_options(task.label_words or {})

    def encode(self, rows: Sequence[Mapping[str, Any]], field: str = "data.train") -> list[Example]:
        """Return the rows as examples, in their order.

        Args:
            rows: each with the task's columns.
            field: where they come from; begins every error.

        Raises:
            ValueError: a row without text, without a column, with an unknown label, or with an empty target.
        """
        prompts = self._prompts(rows, field)
        if self._target is not None:
            options = self._targets(self._target, rows, field)
            return [Example(prompt, (option,), 0) for prompt, option in zip(prompts, options, strict=True)]
        labels = [self._label(row, _place(field, index)) for index, row in enumerate(rows)]
        return [Example(prompt, self._options, label) for prompt, label in zip(prompts, labels, strict=True)]

    def _prompts(self, rows: Sequence[Mapping[str, Any]], field: str) -> list[Ids]:
        texts = [self._template.fill(row, _place(field, index)) for index, row in enumerate(rows)]
        prompts = [(*self._text.prefix, *ids[-self._room :], *self._suffix) for ids in self._text.encode(texts)]
        for index, prompt in enumerate(prompts):
            if not prompt:
                raise ValueError(f"{_place(field, index)}: the prompt has no token, so nothing can follow it")
        return prompts

    def _targets(self, target: Template, rows: Sequence[Mapping[str, Any]], field: str) -> list[Ids]:
        texts = [target.fill(row, _place(field, index)) for index, row in enumerate(rows)]
        found = self._text.encode_after_prompt(texts)
        merged = [index for index, ids in enumerate(found) if ids is None]
        alone = dict(zip(merged, self._text.encode([texts[index] for index in merged]), strict=True))
        targets = [alone[index] if ids is None else ids for index, ids in enumerate(found)]
        for index, ids in enumerate(targets):
            if not ids:
                raise ValueError(f"{_place(field, index)}: the target has no token; remove or fill such rows")
        return [(*ids, *self._text.end)[: self._task.max_tokens] for ids in targets]

    def _label(self, row: Mapping[str, Any], where: str) -> int:
        column = self._task.label_column or ""
        index = self._label_index.get(text_of(row, column, where))
        if index is None:
            names = list(self._label_index)
            more = f" and {len(names) - _LABELS_SHOWN} more" if len(names) > _LABELS_SHOWN else ""
            allowed = ", ".join(repr(name) for name in names[:_LABELS_SHOWN])
            raise ValueError(
                f"{where}: column {column!r} holds none of the task's labels, compared as text: {allowed}{more}. The "
                "value is private and not shown"
            )
        return index

    def _label_options(self, label_words: Mapping[str, str]) -> tuple[Ids, ...]:
        found = self._text.encode_after_prompt(list(label_words.values()))
        options = tuple(
            self._checked_option(label, word, ids)
            for (label, word), ids in zip(label_words.items(), found, strict=True)
        )
        for (word, ids), (other, other_ids) in permutations(zip(label_words.values(), options, strict=True), 2):
            if other_ids[: len(ids)] == ids:
                how = "has the same tokens as" if other_ids == ids else "is, in tokens, the beginning of"
                raise ValueError(
                    f"task.label_words: {word!r} {how} {other!r}, so one does not exclude the other; choose words "
                    "whose tokens part ways"
                )
        return options

    def _checked_option(self, label: str, word: str, ids: Ids | None) -> Ids:
        where = f"task.label_words: {word!r} (label {label!r})"
        if ids is None:
            raise ValueError(
                f"{where} merges with the end of task.template into other tokens; begin it with a space and end the "
                "template without one"
            )
        if not ids:
            raise ValueError(f"{where} has no token in this model's vocabulary; write a word")
        if self._text.unknown in ids:
            raise ValueError(f"{where} is unknown to the model's tokenizer; choose a word of its vocabulary")
        return ids


def public_examples(task: TaskConfig, tokenizer: PreTrainedTokenizerBase, count: int) -> list[Example]:
    """Return `count` made-up examples of the task, labels in turn, for checks that must not read a private row."""
    rows = [_public_row(task.columns, index) for index in range(count)]
    if task.label_column is not None:
        for index, row in enumerate(rows):
            row[task.label_column] = task.label_names[index % len(task.label_names)]
    return PromptEncoder(task, tokenizer).encode(rows, "made-up examples")


def _public_row(columns: Sequence[str], index: int) -> dict[str, str]:
    return {name: _PUBLIC_TEXTS[(index + place) % len(_PUBLIC_TEXTS)] for place, name in enumerate(columns)}


def _place(field: str, index: int) -> str:
    return f"{field}, row {index + 1}"
