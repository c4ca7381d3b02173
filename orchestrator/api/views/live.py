"""The live view of a sweep or run: the table of trials over a progress bar in steps, with an estimate of the time left.

Steps are counted in the ledger (of one run: in its release log), so the bar advances with every step of every trial
and nothing is asked of the trials.
"""

from contextlib import suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from orchestrator.api.views.tables import TrialsTable
from orchestrator.privacy.errors import LedgerUnreachable
from orchestrator.storage.results import StoredRun, StoredSweep
from orchestrator.storage.trials import TrialRow, best_of
from orchestrator.sweep.monitor import WorkFacts


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


class LiveView:
    """A monitor that draws on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_start(self, facts: WorkFacts) -> None:
        """Begin to draw. The table of a sweep is removed at the end, because its summary repeats it."""
        self._facts, self._rows = facts, {row.number: row for row in facts.ended}
        self._bar = steps_bar(self._console)
        total = facts.steps_to_come([])
        description = "sweep" if facts.kind == "sweep" else facts.name
        self._task = self._bar.add_task(description, total=total, start=False)
        if facts.ray_dashboard is not None:
            self._console.print(facts.ray_dashboard, highlight=False, markup=False, soft_wrap=True)
        transient = facts.kind == "sweep"
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=2, transient=transient)
        self._live.start()

    def on_trial_start(self, trial: TrialRow) -> None:
        """Show the trial."""
        self._rows[trial.number] = trial

    on_score = on_trial_end = on_trial_start

    def on_end(self, result: StoredRun | StoredSweep | None) -> None:
        """Draw the last state."""
        self._live.stop()

    def _render(self) -> RenderableType:
        facts = self._facts
        if facts.count_steps is None:
            return "Searching. What the trials do stays secret under release: best; only the winner is shown."
        with suppress(LedgerUnreachable):  # the trials wait for it and say so; the view shows what it knew
            self._advance(facts.count_steps())
        if facts.kind == "run" or facts.num_trials is None:
            return self._bar
        rows = [self._rows[number] for number in sorted(self._rows)]
        self._bar.update(self._task, total=facts.steps_to_come(rows))
        best = best_of(rows)
        table = TrialsTable(rows, facts.searched, best.number if best else None, facts.num_steps, facts.metric)
        return Group(table, self._bar)

    def _advance(self, steps: int) -> None:
        self._bar.update(self._task, completed=steps)
        if steps and not self._bar.tasks[self._task].started:
            self._bar.start_task(self._task)  # the estimate leaves out the time that loading takes
