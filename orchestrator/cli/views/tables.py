"""Tables of plans and trials that fit a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from orchestrator.privacy.display import round_up

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


def trials_table(
    rows: Sequence[TrialRow], names: Sequence[str], best: int | None, num_steps: int, metric: Metric = "accuracy"
) -> Table:
    """Return one row a trial: settings under their short names, steps, score, its own epsilon and state."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    for name in names:
        table.add_column(name.removeprefix("method."), justify="right")
    table.add_column("steps", justify="right")
    table.add_column("score", justify="right")
    table.add_column("ε", justify="right")
    table.add_column("state")
    for row in rows:
        style = STATE_STYLES[row.state]
        table.add_row(
            str(row.number),
            *(short(row.values.get(name)) for name in names),
            f"{row.steps}/{row.num_steps or num_steps}",
            "" if row.score is None else score_text(row.score, metric),
            "" if row.epsilon is None else epsilon_text(row.epsilon, digits=3),
            f"[{style}]{row.state}[/]" + (" ★" if row.number == best else ""),
        )
    return table


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """Return two columns: what, and how much."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(value))  # as it is: a path may hold brackets, which Rich reads as markup
    return table


def score_text(score: float, metric: Metric) -> str:
    """Return a score as people say it: a share as a percentage, minus a loss in nats as a number."""
    return f"{score:.3f}" if metric == "loss" else f"{score:.1%}"


def epsilon_text(epsilon: float, digits: int = 4) -> str:
    """Return an epsilon in so many digits, rounded up: it is never shown smaller than it is."""
    return "∞" if math.isinf(epsilon) else f"{round_up(epsilon, digits):.{digits}g}"


def short(value: Any) -> str:
    """Return a setting in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a duration as people say it: 48 s, 4 min 10 s, 3 h 5 min."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"
