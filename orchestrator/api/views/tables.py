"""Tables and numbers for a terminal of 80 columns, in one style."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions
from rich.table import Column, Table
from rich.text import Text

from orchestrator.privacy.display import epsilon_text

if TYPE_CHECKING:
    from orchestrator.storage.trials import TrialRow
    from trainers.config import Metric

STATE_STYLES = {
    "running": "cyan",
    "interrupted": "magenta",
    "complete": "green",
    "stopped early": "yellow",
    "failed": "red",
}


def plain_table(*columns: str | Column) -> Table:
    """Return an empty table without lines; a column is a header, which may say how the column is laid out."""
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def right(*headers: str) -> list[Column]:
    """Return columns of numbers, aligned right."""
    return [Column(header, justify="right") for header in headers]


def folded(header: str, max_width: int) -> Column:
    """Return a column of at most `max_width` characters; longer text continues on the next line."""
    return Column(header, overflow="fold", max_width=max_width)


@dataclass(frozen=True)
class TrialsTable:
    """One row a trial: searched settings, steps, score, ε of the trial by itself, and state.

    Settings that do not fit the terminal are left out from the right; steps, score, ε and state always stand whole.

    Args:
        rows: the trials.
        names: keys of the searched settings; shown without "method.".
        best: number of the trial that gets a star.
        num_steps: steps of a trial that has no number of its own.
        metric: what a score is.
    """

    rows: Sequence[TrialRow]
    names: Sequence[str]
    best: int | None
    num_steps: int
    metric: Metric

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        unlimited = options.update(max_width=10_000)
        tables = (self._table(count) for count in range(len(self.names), -1, -1))
        fitting = (table for table in tables if console.measure(table, options=unlimited).maximum <= options.max_width)
        yield next(fitting, self._table(0))

    def _table(self, count: int) -> Table:
        """Return the table with so many settings."""
        shown, hidden = self.names[:count], len(self.names) - count
        settings = [name.removeprefix("method.") for name in shown] + ([f"+{hidden} settings"] if hidden else [])
        table = plain_table(*right("#", *settings, "steps", "score", "ε"), "state")
        for row in self.rows:
            table.add_row(
                str(row.number),
                *(short(row.values.get(name)) for name in shown),
                *([""] if hidden else []),
                f"{row.steps}/{row.num_steps or self.num_steps}",
                "" if row.score is None else score_text(row.score, self.metric),
                "" if row.epsilon is None else epsilon_text(row.epsilon, digits=3),
                Text(row.state + (" ★" if row.number == self.best else ""), style=STATE_STYLES[row.state]),
            )
        for column in table.columns:
            column.no_wrap = True
        return table


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """Return one row a fact: its label and its value."""
    table = Table(Column(style="bold"), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    for label, value in facts:
        table.add_row(label, Text(value))  # as Text: a path may hold brackets, which Rich reads as markup
    return table


def path_text(path: Path) -> str:
    """Return a path as a user would type it: relative where it lies below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def score_text(score: float, metric: Metric) -> str:
    """Return a score for people: a share as a percentage, a loss (negated, in nats) as a number."""
    return f"{score:.3f}" if metric == "loss" else f"{score:.1%}"


def short(value: Any) -> str:
    """Return a setting in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
