"""The state of every trial while a sweep runs, collected from the events of Ray Tune.

It holds only releasable values: settings, scores (public, or noisy and paid for) and step counts.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pickle import UnpicklingError
from typing import Any

from ray import tune
from ray.exceptions import RayTaskError

from orchestrator.cluster.nodes import UnfitNode
from orchestrator.privacy.errors import ClockBehind, LedgerCorruptError, LedgerUnreachable
from orchestrator.storage.trials import TrialRow, best_of
from orchestrator.sweep.monitor import SILENT, Monitor, copy_of
from trainers.errors import DpzoError
from trainers.mechanism.release_log import LogUnwritable

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


class TrialBoard(tune.Callback):
    """Collects the trials from Tune's events, and tells a monitor of them.

    Args:
        ended: trials that an earlier process ended.
        monitor: is told of each event, with a copy of the trial.
    """

    def __init__(self, ended: Sequence[TrialRow] = (), monitor: Monitor = SILENT) -> None:
        self._rows = {row.number: row for row in ended}
        self._monitor = monitor
        self._own_failures: Counter[int] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that Tune pickles; a monitor holds a terminal and stays in this process."""
        return {**self.__dict__, "_monitor": SILENT}

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
        row = self._row(trial)
        row.state = "running"
        self._monitor.on_trial_start(copy_of(row))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Store a score; a restarted trial repeats its earlier scores, which are stored once."""
        row = self._row(trial)
        row.steps = result["steps"]
        row.steps_charged = result["steps_charged"]
        row.num_steps = result["num_steps"]
        row.why = result.get("why")
        row.epsilon = math.inf if result["epsilon"] is None else result["epsilon"]
        position = result["training_iteration"] - 1
        if math.isfinite(result["score"]):
            row.scores[position:] = [result["score"]]
        if result["finished"]:
            row.state = "complete" if math.isfinite(result["score"]) else "failed"
        self._monitor.on_score(copy_of(row))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Mark the end of a trial; the scheduler stopped a trial that had not finished."""
        row = self._row(trial)
        if row.state == "running":
            row.state = "stopped early"
        self._monitor.on_trial_end(copy_of(row))

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
        self._monitor.on_trial_end(copy_of(row))

    def _row(self, trial: Any) -> TrialRow:
        values = dict(trial.config)
        number = values.pop("number")
        return self._rows.setdefault(number, TrialRow(number, values))
