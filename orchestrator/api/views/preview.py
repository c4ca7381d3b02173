"""The first prepared examples of a task, for the operator's terminal only.

It reads private rows and shows them to the operator, who holds them anyway. It writes and reserves nothing, and loads
only the tokenizer. The share of prompts that are cut depends on private rows too: it must not be published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from orchestrator.api.views.tables import facts_table, folded, plain_table, right
from trainers.config import RunConfig
from trainers.data.prompts import PromptEncoder
from trainers.data.sources import read_rows
from trainers.data.tokenization import load_tokenizer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trainers.evaluators.base import Example

NOTICE = "These are private rows. Nothing here is written to a file, and nothing of it may be published."
_LONGEST_SHOWN = 600  # characters: of a longer prompt the end is shown


def preview(config: RunConfig, count: int) -> RenderableType:
    """Return the first `count` prepared examples of data.train, and the lengths of all prompts.

    Raises:
        ValueError: the data, the tokenizer or the task cannot be used.
    """
    tokenizer = load_tokenizer(config.model.path)
    encoder = PromptEncoder(config.task, tokenizer)
    sources = {"data.train": config.data.train, "data.validation": config.data.validation}
    lengths: list[tuple[str, str]] = []
    shown: list[Example] = []
    for field, source in sources.items():
        if source is not None:
            rows = read_rows(source, config.task.columns, field)
            lengths.append((field, _lengths(encoder.lengths(rows), config.task.max_tokens)))
            shown = shown or _first(encoder, rows, field, count)
    return Group(Text(NOTICE, style="yellow"), "", facts_table(lengths), "", _examples_table(shown, config, tokenizer))


def _first(encoder: PromptEncoder, rows: Sequence[dict[str, Any]], field: str, count: int) -> list[Example]:
    """Return the first `count` examples; a task may skip rows."""
    examples: list[Example] = []
    start = 0
    while len(examples) < count and start < len(rows):
        examples += encoder.encode(rows[start : start + count], field)
        start += count
    return examples[:count]


def _lengths(tokens: Sequence[int], limit: int) -> str:
    """Return the lengths of prompts before they are cut, in words."""
    ordered = sorted(tokens)
    cut = sum(number > limit for number in ordered)
    middle, high = ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))]
    return (
        f"{len(ordered)} rows; prompts of {middle} tokens (median), {high} (95 %), {ordered[-1]} (longest); "
        f"{cut / len(ordered):.1%} longer than task.max_tokens {limit} and cut"
    )


def _examples_table(examples: Sequence[Example], config: RunConfig, tokenizer: Any) -> Table:
    prompt_column = Column("prompt, as the model reads it", overflow="fold", ratio=1)
    table = plain_table(*right("#", "tokens"), prompt_column, folded("right answer", 20))
    for number, example in enumerate(examples, start=1):
        prompt = tokenizer.decode(example.prompt_ids)
        shown = prompt if len(prompt) <= _LONGEST_SHOWN else "…" + prompt[-_LONGEST_SHOWN:]
        table.add_row(str(number), str(len(example.prompt_ids)), Text(shown), Text(_answer(example, config, tokenizer)))
    return table


def _answer(example: Example, config: RunConfig, tokenizer: Any) -> str:
    """Return the right answer: an option and the number of options, a text, or a class."""
    if not example.option_ids:
        return f"{config.task.label_names[example.label]} ({example.label})"
    words = repr(tokenizer.decode(example.option_ids[example.label]))
    return words if len(example.option_ids) == 1 else f"{words} of {len(example.option_ids)}"
