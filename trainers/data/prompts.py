"""Rows → prepared examples: the filled template as tokens, cut to length, and the right answer.

| task                  | prompt                                  | options                            | label         |
|-----------------------|-----------------------------------------|------------------------------------|---------------|
| `label_words`         | bos if the tokenizer adds one, text     | one for each label word            | its number    |
| `label_words`, [MASK] | as the tokenizer does, [CLS] text [SEP] | one token for each label word      | its number    |
| `options`             | as for `label_words`                    | the row's own                      | its number    |
| `target`              | as for `label_words`                    | one: the text, and eos if any      | 0             |
| `labels`              | as for `label_words` with [MASK]        | none: a classification head        | class         |

A prompt that is longer than `max_tokens` with its special tokens loses the beginning of its text: the question stands
at the end. If the mask would be lost, the end is cut instead. A target or an option that is longer than `max_tokens`
loses its end, and then has no eos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainers.config import TaskConfig
from trainers.data.options import RowOptions, label_options, mask_words
from trainers.data.tokenization import Ids, TextEncoder
from trainers.evaluators.base import Example
from trainers.tasks.labels import Labels, label_of
from trainers.tasks.templates import MASK, Template

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

    Raises:
        ValueError: the template or a label word cannot be used (`label_options`, `mask_words`), or `max_tokens` leaves
            no room for text.

    Formal guarantees:
        An example depends on its own row, the task and the tokenizer only: adding or removing a row changes no other
        example. Errors name the number of a row, never a value.
    """

    def __init__(self, task: TaskConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self._task = task
        self._mask = _Mask.of(task, tokenizer)
        text = task.template.replace(MASK, self._mask.token) if self._mask else task.template
        text = _without_own_start(text, tokenizer)
        self._template = Template.parse(text, "task.template")
        self._target = None if task.target is None else Template.parse(task.target, "task.target")
        if task.label_column in self._template.columns:
            raise ValueError(
                f"task.template holds the label column {task.label_column!r}: the prompt would tell the answer"
            )
        anchor = self._template.fill(made_up_row(task, 0), "task.template")
        self._text = TextEncoder(tokenizer, anchor)
        self._suffix = self._text.suffix if task.labels is not None or self._mask else ()
        self._room = task.max_tokens - len(self._text.prefix) - len(self._suffix)
        if self._room < 1:
            raise ValueError(
                f"task.max_tokens {task.max_tokens} leaves no room for text beside the tokenizer's "
                f"{task.max_tokens - self._room} special tokens"
            )
        self._labels = Labels([*task.label_names, *task.skip_labels])
        self._row_options = RowOptions(task, self._text) if task.options is not None else None
        words = task.label_words or {}
        self._options = mask_words(words, self._text) if self._mask else label_options(words, self._text)

    def encode(self, rows: Sequence[Mapping[str, Any]], field: str = "data.train") -> list[Example]:
        """Return the rows as examples, in their order, without rows of a label in `skip_labels`.

        `field`, the rows' place in the configuration, begins every error: ValueError if a row has no text, lacks a
        column, has an unknown label, or an empty target.
        """
        places = [f"{field}, row {index + 1}" for index in range(len(rows))]
        kept = [(row, where) for row, where in zip(rows, places, strict=True) if self.keeps(row, where)]
        rows, places = [row for row, _ in kept], [where for _, where in kept]
        prompts, mask_places = self._prompts(rows, places)
        if self._target is not None:
            targets, references = self._targets(self._target, rows, places)
            return [
                Example(prompt, (target,), 0, references=texts)
                for prompt, target, texts in zip(prompts, targets, references, strict=True)
            ]
        if self._row_options is not None:
            own = self._row_options.encode(rows, places)
            return [
                Example(prompt, options, right[0], also_right=right[1:])
                for prompt, (options, right) in zip(prompts, own, strict=True)
            ]
        labels = [self._label(row, where) for row, where in zip(rows, places, strict=True)]
        return [
            Example(prompt, self._options, label, mask_place)
            for prompt, label, mask_place in zip(prompts, labels, mask_places, strict=True)
        ]

    def lengths(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the number of tokens of each row's prompt before it is cut, special tokens included."""
        around = len(self._text.prefix) + len(self._suffix)
        texts = [self._filled(row, f"row {index + 1}") for index, row in enumerate(rows)]
        return [around + len(ids) for ids in self._text.encode(texts)]

    def keeps(self, row: Mapping[str, Any], where: str) -> bool:
        """Return whether `encode` keeps a row: its label is not in `skip_labels`."""
        column = self._task.label_column
        if column is None or self._task.options is not None or not self._task.skip_labels:
            return True
        return (self._labels.number_of(label_of(row, column, where)) or 0) < len(self._task.label_names)

    def _prompts(self, rows: Sequence[Mapping[str, Any]], places: Sequence[str]) -> tuple[list[Ids], list[int | None]]:
        """Return each row's prompt, and the place of its mask or None."""
        texts = [self._filled(row, where) for row, where in zip(rows, places, strict=True)]
        prompts, masks = [], []
        for ids, where in zip(self._text.encode(texts), places, strict=True):
            mask = self._mask.place(ids, where) if self._mask else None
            start = max(0, len(ids) - self._room) if mask is None else min(mask, max(0, len(ids) - self._room))
            prompt = (*self._text.prefix, *ids[start : start + self._room], *self._suffix)
            if not prompt:
                raise ValueError(f"{where}: the prompt has no token, so nothing can follow it")
            prompts.append(prompt)
            masks.append(None if mask is None else len(self._text.prefix) + mask - start)
        return prompts, masks

    def _filled(self, row: Mapping[str, Any], where: str) -> str:
        """Return the row's text. A mask token inside a column becomes a blank."""
        if self._mask is not None:
            token = self._mask.token
            row = {name: value.replace(token, " ") if isinstance(value, str) else value for name, value in row.items()}
        return self._template.fill(row, where)

    def _targets(
        self, target: Template, rows: Sequence[Mapping[str, Any]], places: Sequence[str]
    ) -> tuple[list[Ids], list[tuple[str, ...]]]:
        """Return each row's target tokens, and all texts that count as right."""
        filled = [list(target.fill_each(row, where).values()) for row, where in zip(rows, places, strict=True)]
        targets = self._text.encode_continuations([texts[0] for texts in filled])
        for ids, where in zip(targets, places, strict=True):
            if not ids:
                raise ValueError(f"{where}: the target has no token; remove or fill such rows")
        cut = [(*ids, *self._text.end)[: self._task.max_tokens] for ids in targets]
        return cut, [tuple(text.strip() for text in texts) for texts in filled]

    def _label(self, row: Mapping[str, Any], where: str) -> int:
        column = self._task.label_column or ""
        number = self._labels.number_of(label_of(row, column, where))
        if number is None:
            names = self._task.label_names
            more = f" and {len(names) - _LABELS_SHOWN} more" if len(names) > _LABELS_SHOWN else ""
            allowed = ", ".join(repr(name) for name in names[:_LABELS_SHOWN])
            raise ValueError(
                f"{where}: column {column!r} holds none of the task's labels, compared as text: {allowed}{more}. The "
                "value is private and not shown"
            )
        return number


def _without_own_start(template: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a template without the start token that it begins with, if the tokenizer puts one before a text anyway."""
    first = tokenizer("", verbose=False)["input_ids"][:1]
    for token in (tokenizer.bos_token, tokenizer.cls_token):
        if isinstance(token, str) and template.startswith(token) and first == [tokenizer.convert_tokens_to_ids(token)]:
            return template.removeprefix(token).lstrip(" ")
    return template


class _Mask:
    """The tokenizer's mask token and its id."""

    def __init__(self, token: str, token_id: int) -> None:
        self.token, self._id = token, token_id

    @classmethod
    def of(cls, task: TaskConfig, tokenizer: PreTrainedTokenizerBase) -> _Mask | None:
        """Return the mask of a task, None if its template has none."""
        if MASK not in task.template:
            return None
        token, token_id = tokenizer.mask_token, tokenizer.mask_token_id
        if not isinstance(token, str) or not isinstance(token_id, int):
            raise ValueError(f"task.template holds {MASK}, and this model's tokenizer has no mask token")
        return cls(token, token_id)

    def place(self, ids: Ids, where: str) -> int:
        if ids.count(self._id) != 1:
            raise ValueError(f"{where}: the tokenizer does not keep the mask of task.template as one token")
        return ids.index(self._id)


def public_examples(task: TaskConfig, tokenizer: PreTrainedTokenizerBase, count: int) -> list[Example]:
    """Return `count` made-up examples of the task, for checks that must not read a private row. Labels take turns."""
    rows = [made_up_row(task, index) for index in range(count)]
    return PromptEncoder(task, tokenizer).encode(rows, "made-up examples")


def made_up_row(task: TaskConfig, index: int) -> dict[str, Any]:
    """Return a made-up row with every column of the task, lists of two items, and a valid label."""
    texts = [_PUBLIC_TEXTS[(index + place) % len(_PUBLIC_TEXTS)] for place in range(len(_PUBLIC_TEXTS))]
    row: dict[str, Any] = {name: texts[place % len(texts)] for place, name in enumerate(task.columns)}
    options = [Template.parse(text, "task.options") for text in task.options or []]
    for part in (Template.parse(task.template, "task.template"), *options):
        row |= dict.fromkeys(part.list_columns, texts[-2:])
        row |= {slot.column: "cause" for _, slot in part.parts if slot and slot.change == "connective"}
    if task.label_column is not None:
        listed = any(option.makes_option_per_item for option in options)
        labels = texts[-2:] if listed else task.label_names or [str(number) for number in range(len(options))]
        row[task.label_column] = labels[index % len(labels)]
    return row
