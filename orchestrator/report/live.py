"""The live view of a sweep: the table of trials over a progress bar in steps, with an estimate of the time left.

Progress is read from the ledger, so it counts every step of every lane at once and never touches the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from orchestrator.board import Board
from orchestrator.privacy.errors import LedgerUnreachable
from orchestrator.report.tables import trials_table
from orchestrator.trial_row import steps_to_come
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
            bar.update(task, completed=steps_drawn())
        drawn = bar.tasks[task].completed
        if drawn and not bar.tasks[task].started:
            bar.start_task(task)  # the clock of the estimate starts with the first step, not with the loading
        bar.update(task, total=steps_to_come(board.rows, num_trials, num_steps))
        best = board.best()
        return Group(trials_table(board.rows, names, best.number if best else None, num_steps, metric), bar)

    with Live(get_renderable=view, console=console, refresh_per_second=2, transient=True):
        yield
