"""What a sweep or run tells while it works, and to whom: a live view, a program's callbacks, a tracker.

Only releasable values reach a monitor: settings, scores (public, or noisy and paid for), step counts and epsilon. Of a
search of one winner (`release: best`) a monitor hears that it began and that it ended, and nothing of its trials.
Steps are not reported one by one, because the moment of a step hints at the size of its secret batch; a monitor on the
operator's screen may count them with `WorkFacts.count_steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from orchestrator.storage.trials import TrialRow, steps_to_come
from trainers.config import Metric

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan
    from orchestrator.storage.results import StoredRun, StoredSweep


@dataclass(frozen=True)
class WorkFacts:
    """What is known when the trials of a sweep, or one run, begin.

    Args:
        kind: `sweep` for the trials of a search, `run` for one run.
        name: of the sweep or run.
        metric: what a score means.
        num_steps: T, of one run.
        seeds: runs of a trial.
        num_trials: 1 for a run; None where the number is secret.
        cap_steps: steps of all trials together, where they are given instead of a number of trials.
        searched: names of the settings that are searched.
        ended: trials that an earlier process of the same sweep ended.
        count_steps: returns the steps that all trials have taken so far; None where that is secret.
        ray_dashboard: a line that says where Ray's dashboard is, and how to get its token; None where there is none.
        plan: of the sweep or run, with its configuration and its ε.
        day: on which it was reserved, in UTC, as YYYY-MM-DD.
    """

    kind: Literal["run", "sweep"]
    name: str
    metric: Metric
    num_steps: int
    num_trials: int | None = 1
    searched: Sequence[str] = ()
    ended: Sequence[TrialRow] = ()
    count_steps: Callable[[], int] | None = None
    ray_dashboard: str | None = None
    plan: Plan | None = None
    day: str | None = None
    cap_steps: int | None = None
    seeds: int = 1

    def steps_to_come(self, rows: Sequence[TrialRow]) -> int | None:
        """Return the expected steps of all trials, given what has become of them; None where the number is secret."""
        if self.cap_steps is not None or self.num_trials is None:
            return self.cap_steps
        return steps_to_come(rows, self.num_trials, self.seeds * self.num_steps)


class Monitor(Protocol):
    """Hears how a sweep or run goes. It is called in the driver's process; a raised error ends the work.

    A trial is given as a copy of what is known of it; a run is given as a trial with number 0 and no values. A trial
    that is resumed repeats its earlier scores: its number and its steps tell them apart.
    """

    def on_start(self, facts: WorkFacts) -> None:
        """Hear that trials begin, or one run. After public tuning the private run begins as a run of its own."""

    def on_trial_start(self, trial: TrialRow) -> None:
        """Hear that a trial starts, or starts again after its process was lost; not called for a run."""

    def on_score(self, trial: TrialRow) -> bool | None:
        """Hear of the next score of a trial, the last of `trial.scores`; of a run elsewhere, when the run has ended.

        False stops a trial of a sweep here; its tokens so far stay charged. A run goes on.
        """

    def on_trial_end(self, trial: TrialRow) -> None:
        """Hear that a trial ended as `trial.state` says; not called for a run."""

    def on_end(self, result: StoredRun | StoredSweep | None) -> None:
        """Hear that what began has ended; without a result where it failed, or where a private run begins next."""


class SilentMonitor(Monitor):
    """A monitor that does nothing; a base for those that need only some of the calls."""


SILENT = SilentMonitor()


class Monitors(Monitor):
    """Several monitors, told one after the other."""

    def __init__(self, *monitors: Monitor) -> None:
        self._monitors = monitors

    def on_start(self, facts: WorkFacts) -> None:
        """Tell each that trials begin."""
        for monitor in self._monitors:
            monitor.on_start(facts)

    def on_trial_start(self, trial: TrialRow) -> None:
        """Tell each that a trial starts."""
        for monitor in self._monitors:
            monitor.on_trial_start(trial)

    def on_score(self, trial: TrialRow) -> bool:
        """Tell each of a score; False where one of them stops the trial."""
        replies = [monitor.on_score(trial) for monitor in self._monitors]
        return False not in replies

    def on_trial_end(self, trial: TrialRow) -> None:
        """Tell each that a trial ended."""
        for monitor in self._monitors:
            monitor.on_trial_end(trial)

    def on_end(self, result: StoredRun | StoredSweep | None) -> None:
        """Tell each that what began has ended."""
        for monitor in self._monitors:
            monitor.on_end(result)


class Announcer:
    """Tells a monitor when work begins and ends.

    Args:
        monitor: of the caller.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._told: Monitor | None = None

    def begin(self, facts: WorkFacts, *others: Monitor) -> Monitor:
        """Tell the monitor, and others, that work begins, and return them as one; what went on before has ended."""
        self.end(None)
        told = Monitors(self.monitor, *others) if others else self.monitor
        told.on_start(facts)
        self._told = told
        return told

    def end(self, result: StoredRun | StoredSweep | None) -> None:
        """Tell the monitor that what began has ended, once."""
        told, self._told = self._told, None
        if told is not None:
            told.on_end(result)


@contextmanager
def announced(monitor: Monitor) -> Iterator[Announcer]:
    """Give a body an announcer; what has begun and not ended when the body is left has failed."""
    announcer = Announcer(monitor)
    try:
        yield announcer
    finally:
        announcer.end(None)


def copy_of(trial: TrialRow) -> TrialRow:
    """Return a copy that a monitor may keep."""
    return replace(trial, values=dict(trial.values), scores=list(trial.scores))
