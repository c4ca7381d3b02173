"""The live view of a sweep: the table of trials over a progress bar in steps, with an estimate of the time left.

Progress is read from the ledger, so it counts every step of every lane at once and never touches the trials. That of
one run whose steps other processes take is read from its release log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from orchestrator.cli.views.tables import trials_table
from orchestrator.privacy.errors import LedgerUnreachable
from orchestrator.storage.trials import steps_to_come
from orchestrator.sweep.board import Board
from trainers.config import Metric


def steps_bar(console: Console) -> Progress:
    """Return a progress bar that counts steps and tells the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("steps ·"),
        TimeElapsedColumn(),
        TextColumn("· left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console,
    )


@contextmanager
def run_view(console: Console, name: str, num_steps: int, steps_released: Callable[[], int]) -> Iterator[None]:
    """Show the bar of a run that other processes take while the body runs."""
    bar = steps_bar(console)
    task = bar.add_task(name, total=num_steps, start=False)

    def view() -> Progress:
        _advance(bar, task, steps_released())
        return bar

    with Live(get_renderable=view, console=console, refresh_per_second=2):
        yield


@contextmanager
def live_view(
    console: Console,
    board: Board,
    names: Sequence[str],
    *,
    num_trials: int,
    num_steps: int,
    metric: Metric = "accuracy",
    steps_drawn: Callable[[], int],
) -> Iterator[None]:
    """Show the trials while the body runs; on a screen that is no terminal, only the last state is printed."""
    bar = steps_bar(console)
    task = bar.add_task("sweep", total=num_trials * num_steps, start=False)

    def view() -> Group:
        with suppress(LedgerUnreachable):  # who draws waits for it, and says so; the view shows what it knew
            _advance(bar, task, steps_drawn())
        bar.update(task, total=steps_to_come(board.rows, num_trials, num_steps))
        best = board.best()
        return Group(trials_table(board.rows, names, best.number if best else None, num_steps, metric), bar)

    with Live(get_renderable=view, console=console, refresh_per_second=2, transient=True):
        yield


def _advance(bar: Progress, task: TaskID, steps: int) -> None:
    bar.update(task, completed=steps)
    if steps and not bar.tasks[task].started:
        bar.start_task(task)  # the clock of the estimate starts with the first step, not with the loading
