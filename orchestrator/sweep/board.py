"""What is known of every trial of a sweep while it runs: the state behind the live table and the result file.

Only releasable values stand here: settings, scores (public, or noisy and paid for) and step counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pickle import UnpicklingError
from typing import Any

from ray import tune
from ray.exceptions import RayTaskError

from orchestrator.privacy.errors import LedgerCorruptError, LedgerUnreachable
from orchestrator.storage.trials import TrialRow, best_of
from orchestrator.sweep.monitor import SILENT, Monitor, copy_of
from trainers.mechanism.release_log import LogUnwritable


def fatal_cause(error: BaseException | None) -> LedgerUnreachable | LedgerCorruptError | LogUnwritable | None:
    """Return what the ledger or a release log said, if an error came of that: to try again would not help."""
    while error is not None:
        said = getattr(error, "cause", None) or error  # Ray wraps it, and Tune once more
        if isinstance(said, LedgerUnreachable | LedgerCorruptError | LogUnwritable):
            return said
        error = error.__cause__ or error.__context__
    return None


def error_of(trial: Any) -> BaseException | None:
    """Return what a trial failed of, as Tune wrote it down; on a full disk it wrote a part of it."""
    try:
        return trial.get_pickled_error()
    except (EOFError, OSError, UnpicklingError):
        return LogUnwritable(
            f"trial {trial.config['number']} failed, and Ray Tune could not write why: the disk of storage_path is "
            "full or broken. Nothing was released that is not accounted for. Make room, and start the same command "
            "again."
        )


MAX_RESTARTS = 3  # of a trial that failed by itself; each goes on from the release log, and costs a token
MAX_LOSSES = 20  # of a trial's lane, with its process or its node


class TrialBoard(tune.Callback):
    """Collects trials from Tune's events; `rows` is in the order of trial numbers, after those that ended earlier."""

    def __init__(self, ended: Sequence[TrialRow] = (), monitor: Monitor = SILENT) -> None:
        self._rows = {row.number: row for row in ended}
        self._monitor = monitor
        self._own_failures: Counter[int] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        """Return what Tune pickles with its own state: a monitor holds a terminal, and stays in this process."""
        return {**self.__dict__, "_monitor": SILENT}

    @property
    def rows(self) -> list[TrialRow]:
        """All trials that have started."""
        return [self._rows[number] for number in sorted(self._rows)]

    def copies(self) -> list[TrialRow]:
        """Return copies of all rows, for a monitor."""
        return [copy_of(row) for row in self.rows]

    def best(self) -> TrialRow | None:
        """Return the complete trial with the highest last score (the first of equals), or None."""
        return best_of(self.rows)

    def steps(self) -> int:
        """Return the steps of all trials."""
        return sum(row.steps for row in self.rows)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Enter a trial that starts or starts again."""
        row = self._row(trial)
        row.state = "running"
        self._monitor.on_trial_start(copy_of(row))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note a score; a restarted trial repeats its earlier ones, which are kept once."""
        row = self._row(trial)
        row.steps = result["steps"]
        row.steps_charged = result["steps_charged"]
        row.num_steps = result["num_steps"]
        row.epsilon = math.inf if result["epsilon"] is None else result["epsilon"]
        position = result["training_iteration"] - 1
        if math.isfinite(result["score"]):
            row.scores[position:] = [result["score"]]
        if result["finished"]:
            row.state = "complete" if math.isfinite(result["score"]) else "failed"
        self._monitor.on_score(copy_of(row))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note the end of a trial; one that had not finished was stopped by the scheduler."""
        row = self._row(trial)
        if row.state == "running":
            row.state = "stopped early"
        self._monitor.on_trial_end(copy_of(row))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """End the sweep where the ledger (away for all its patience, or set back) or a full disk ended a trial.

        A trial that fails by itself is tried again `MAX_RESTARTS` times; one whose lane was lost, `MAX_LOSSES` times.

        Raises:
            LedgerUnreachable, LedgerCorruptError, LogUnwritable: as in the trial.
        """
        error = error_of(trial)
        if (word := fatal_cause(error)) is not None:
            raise word
        number = trial.config["number"]
        self._own_failures[number] += isinstance(error, RayTaskError)
        if self._own_failures[number] >= MAX_RESTARTS:
            trial.max_failures = 0  # this time it is tried again, and then no more

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note a trial that failed for good."""
        row = self._row(trial)
        row.state = "failed"
        self._monitor.on_trial_end(copy_of(row))

    def _row(self, trial: Any) -> TrialRow:
        values = dict(trial.config)
        number = values.pop("number")
        return self._rows.setdefault(number, TrialRow(number, values))
