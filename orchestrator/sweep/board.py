"""The state of every trial while a sweep runs, collected from the events of Ray Tune.

It holds only releasable values: settings, scores (public, or noisy and paid for) and step counts.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pickle import UnpicklingError
from threading import Event
from typing import Any

from ray import tune
from ray.exceptions import RayTaskError

from orchestrator.cluster.nodes import UnfitNode
from orchestrator.privacy.errors import ClockBehind, LedgerCorruptError, LedgerUnreachable
from orchestrator.storage.trials import TrialRow, best_of
from orchestrator.sweep.monitor import SILENT, Monitor, copy_of
from trainers.errors import DpzoError
from trainers.mechanism.release_log import LogUnwritable, Stopped

Fatal = LedgerUnreachable | LedgerCorruptError | ClockBehind | LogUnwritable | UnfitNode


def fatal_cause(error: BaseException | None) -> Fatal | None:
    """Return the error of ledger, release log or node that is behind an error; None where a retry may help."""
    while error is not None:
        cause = getattr(error, "cause", None) or error  # Ray wraps errors, and Tune wraps them again
        if isinstance(cause, Fatal):
            return cause
        error = error.__cause__ or error.__context__
    return None


def error_of(trial: Any) -> BaseException | None:
    """Return the error of a failed trial from Tune's file, which is cut where the disk was full."""
    try:
        return trial.get_pickled_error()
    except (EOFError, OSError, UnpicklingError):
        return LogUnwritable(
            f"trial {trial.config['number']} failed, and Ray Tune could not write why: the disk of storage_path is "
            "full or broken. Nothing was released that is not accounted for. Make room, and start the same command "
            "again."
        )


def _reason(error: BaseException | None) -> str:
    """Return what may be said of an error; a library's message may quote a private row."""
    cause = getattr(error, "cause", None) or error
    return str(cause) if isinstance(cause, DpzoError) else f"{type(cause).__name__}, see operator-only/"


MAX_RESTARTS = 3  # of a trial that raised an error; each restart continues from the release log and costs a token
MAX_LOSSES = 20  # of a trial's process or node


class TrialBoard(tune.Callback, tune.Stopper):
    """Collects the trials from Tune's events, tells a monitor of them, and stops the trials that the monitor stops.

    Args:
        ended: trials that an earlier process ended.
        monitor: is told of each event, with a copy of the trial.
        stopping: is set, by another thread, to end the sweep where it is.
    """

    def __init__(
        self, ended: Sequence[TrialRow] = (), monitor: Monitor = SILENT, stopping: Event | None = None
    ) -> None:
        self._rows = {row.number: row for row in ended}
        self._of_tune: dict[str, TrialRow] = {}
        self.monitor, self._stopping = monitor, stopping or Event()
        self._own_failures: Counter[int] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that Tune pickles; a monitor holds a terminal and stays in this process."""
        return {**self.__dict__, "monitor": SILENT, "_stopping": None}

    @property
    def rows(self) -> list[TrialRow]:
        """All trials that have started, by number."""
        return [self._rows[number] for number in sorted(self._rows)]

    def best(self) -> TrialRow | None:
        """Return the complete trial with the highest last score (of equals the first), or None."""
        return best_of(self.rows)

    def steps(self) -> int:
        """Return the steps of all trials."""
        return sum(row.steps for row in self.rows)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Add a trial that starts, or mark one that starts again."""
        row = self._of_tune[trial.trial_id] = self._row(trial)
        row.state = "running"
        self.monitor.on_trial_start(copy_of(row))

    def is_stopping(self) -> bool:
        """Return whether another thread asked to end the sweep."""
        return self._stopping.is_set()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End the sweep where another thread asked for it: a Stopped. Trials that have not ended can be resumed."""
        if self.is_stopping():
            raise Stopped("the search was stopped")

    def stop_all(self) -> bool:
        """Return False: Tune would end the trials, and none could be resumed."""
        return False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Store a score, and return whether the monitor stops its trial; Tune asks at each result, before all else.

        A restarted trial repeats its earlier scores, which are stored once.
        """
        row = self._of_tune[trial_id]
        row.steps = result["steps"]
        row.steps_charged = result["steps_charged"]
        row.num_steps, row.forward_passes = result["num_steps"], result.get("forward_passes")
        row.why = result.get("why")
        row.epsilon = math.inf if result["epsilon"] is None else result["epsilon"]
        position = result["training_iteration"] - 1
        if math.isfinite(result["score"]):
            row.scores[position:] = [float(result["score"])]
        if result["finished"]:
            row.state = "complete" if math.isfinite(result["score"]) else "failed"
        return self.monitor.on_score(copy_of(row)) is False

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Mark the end of a trial; the scheduler stopped a trial that had not finished."""
        row = self._row(trial)
        if row.state == "running":
            row.state = "stopped early"
        self.monitor.on_trial_end(copy_of(row))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Let Tune start a failed trial again, or end the sweep where that cannot help.

        A trial that raised an error is started again `MAX_RESTARTS` times; a trial whose process was lost, `MAX_LOSSES`
        times.

        Raises:
            LedgerUnreachable, LedgerCorruptError, ClockBehind, LogUnwritable, UnfitNode: what ended the trial.
        """
        error = error_of(trial)
        if (cause := fatal_cause(error)) is not None:
            raise cause
        number = trial.config["number"]
        self._own_failures[number] += isinstance(error, RayTaskError)
        self._row(trial).why = _reason(error)
        if self._own_failures[number] >= MAX_RESTARTS:
            trial.max_failures = 0  # last retry

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Mark a trial that failed and is not started again."""
        row = self._row(trial)
        row.state = "failed"
        self.monitor.on_trial_end(copy_of(row))

    def _row(self, trial: Any) -> TrialRow:
        values = dict(trial.config)
        number = values.pop("number")
        return self._rows.setdefault(number, TrialRow(number, values))
