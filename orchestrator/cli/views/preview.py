"""What a task makes of the first rows of its data: for the operator's eyes, on the terminal and nowhere else.

It reads private rows and shows them to whoever holds them anyway. Nothing is written, reserved or loaded but the
tokenizer. How many prompts are cut is a number about private rows too: it must not leave with a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from orchestrator.cli.views.tables import facts_table
from trainers.config import RunConfig
from trainers.data.prompts import PromptEncoder
from trainers.data.sources import read_rows
from trainers.data.tokenization import load_tokenizer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trainers.evaluators.base import Example

NOTICE = "Private rows, shown to you alone: nothing here is written to a file, and none of it may be published."
_LONGEST_SHOWN = 600  # characters of a prompt, its end


def preview(config: RunConfig, count: int) -> RenderableType:
    """Return the first `count` prepared examples of data.train, and how long and how often cut all prompts are.

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
    """Return the first examples; rows that are skipped make room for the next."""
    found: list[Example] = []
    start = 0
    while len(found) < count and start < len(rows):
        found += encoder.encode(rows[start : start + count], field)
        start += count
    return found[:count]


def _lengths(tokens: Sequence[int], limit: int) -> str:
    """Return in words how long prompts are, before they are cut."""
    ordered = sorted(tokens)
    cut = sum(number > limit for number in ordered)
    middle, high = ordered[len(ordered) // 2], ordered[int(0.95 * (len(ordered) - 1))]
    return (
        f"{len(ordered)} rows; prompts of {middle} tokens (median), {high} (95 %), {ordered[-1]} (longest); "
        f"{cut / len(ordered):.1%} longer than task.max_tokens {limit} and cut"
    )


def _examples_table(examples: Sequence[Example], config: RunConfig, tokenizer: Any) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("tokens", justify="right")
    table.add_column("prompt, as the model reads it", overflow="fold", ratio=1)
    table.add_column("right", overflow="fold", max_width=20)
    for number, example in enumerate(examples, start=1):
        prompt = tokenizer.decode(example.prompt_ids)
        shown = prompt if len(prompt) <= _LONGEST_SHOWN else "…" + prompt[-_LONGEST_SHOWN:]
        table.add_row(str(number), str(len(example.prompt_ids)), Text(shown), Text(_answer(example, config, tokenizer)))
    return table


def _answer(example: Example, config: RunConfig, tokenizer: Any) -> str:
    """Return what the model is to say: an option's words among how many, a text, or a class."""
    if not example.option_ids:
        return f"{config.task.label_names[example.label]} ({example.label})"
    words = repr(tokenizer.decode(example.option_ids[example.label]))
    return words if len(example.option_ids) == 1 else f"{words} of {len(example.option_ids)}"
