"""What all trials of a sweep share, and one trial at work."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from orchestrator.budget.accounted_run import holder_of, open_accounted_run
from orchestrator.planning.plan import Plan, finite_or_none
from orchestrator.privacy.ledger.drawer import patiently
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import Storage
from orchestrator.storage.progress import ProgressFile
from orchestrator.sweep.public_tuning import PublicRows, open_public_run
from orchestrator.sweep.ray_metrics import Metrics
from search_spaces.config import MENU
from trainers.config import PerformanceConfig, RunConfig
from trainers.run.base_run import BaseRun
from trainers.run.context import Workspace
from trainers.run.divergence import Diverged
from trainers.workers.ranks import Ranks
from trainers.workspace import open_workspace

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepContext:
    """What every trial of a sweep shares; it travels to the lanes.

    Args:
        plan: the sweep's.
        performance: that of one lane, or of one of its workers.
        storage: where logs and ledger are.
        tune_on: rows to train on instead of the private ones, for nothing.
    """

    plan: Plan
    performance: PerformanceConfig
    storage: Storage
    tune_on: PublicRows | None = None

    @property
    def config(self) -> RunConfig:
        """The sweep's configuration, as a lane loads it."""
        config = self.plan.config.model_copy(update={"performance": self.performance})
        return config if self.tune_on is None else self.tune_on.replace_training_rows(config)

    def workspace(self, ranks: Ranks | None = None) -> Workspace:
        """Load what all trials of a lane share; of several ranks the first asks the ledger for its key."""
        key = None
        if self.config.data.validation_share is not None:
            key = bytes.fromhex((ranks or Ranks()).broadcast(self._key))
        return open_workspace(self.config, coin_key=key)

    def open(self, workspace: Workspace, values: dict[str, Any], number: int, ranks: Ranks | None = None) -> BaseRun:
        """Open trial `number`: with tokens from the ledger, or on public rows with none."""
        trial = self.plan.trial(values)
        folder = self.storage.trial_folder(number)
        if self.tune_on is not None:
            return open_public_run(workspace, self.tune_on.replace_training_rows(trial), folder, ranks)
        holder = holder_of(number)
        return open_accounted_run(workspace, self.plan, trial, self.storage, holder, folder, values.get(MENU), ranks)

    def metrics(self, number: int) -> Metrics | None:
        """Return what tells Ray of trial `number`; None where trials stay secret, and outside a cluster."""
        if not self.storage.releases_trials or not ray.is_initialized():
            return None
        return Metrics(self.storage.name, holder_of(number))

    def progress(self, run: BaseRun, number: int) -> Callable[[int], None]:
        """Return what takes note of each step of trial `number`, on rank 0: nothing where trials stay secret."""
        if not self.storage.releases_trials or not run.ranks.is_rank_0:
            return lambda step: None
        num_steps = run.config.method.num_steps
        return ProgressFile(self.storage.progress_folder, holder_of(number), num_steps, run.steps_released)

    def epsilon_after(self, run: BaseRun) -> float:
        """Return what a trial has cost so far by itself: nothing on public rows."""
        return 0.0 if self.tune_on is not None else self.plan.epsilon_after(run.config, run.steps_charged)

    def _key(self) -> str:
        url, patience_s = self.storage.database_url, self.storage.patience_s
        return patiently(lambda: Ledger(url, create=False).key(), patience_s).hex()


class Trial:
    """A trial at work, from score to score.

    Args:
        context: the sweep's.
        workspace: loaded.
        values: of the search, with the trial's `number`.
        ranks: who takes it, where several do.
    """

    def __init__(
        self, context: SweepContext, workspace: Workspace, values: dict[str, Any], ranks: Ranks | None = None
    ) -> None:
        values = dict(values)
        number = values.pop("number")
        self._context = context
        self.run = context.open(workspace, values, number, ranks)
        self._points = self.run.score_points()
        self._num_segments = 0
        self._metrics = context.metrics(number)
        self._segments = self.run.segments(context.progress(self.run, number))

    def report(self) -> dict[str, Any]:
        """Train to the next score and return it; `finished` says that it was the last. Rank 0 alone has a score."""
        steps, score, finished = self._segment()
        self._num_segments += 1
        if finished:
            self.close()  # whoever exports the best model opens the log
        if not self.run.ranks.is_rank_0:
            return {}
        epsilon = finite_or_none(self._context.epsilon_after(self.run))
        if self._metrics is not None:
            self._metrics.scored(steps, score, epsilon)
        return {
            "score": math.nan if score is None else score,
            "steps": steps,
            "steps_charged": self.run.steps_charged,
            "num_steps": self._points[-1],
            "epsilon": epsilon,
            "sweep_epsilon": finite_or_none(self._context.plan.epsilon),
            "finished": finished,
            "done": finished,
        }

    def _segment(self) -> tuple[int, float | None, bool]:
        """Train to the next score; a trial that diverged ends there without one, and is not tried again."""
        try:
            steps, score = next(self._segments)
        except Diverged as word:
            LOGGER.warning("%s", word)
            return self.run.steps_taken, None, True
        return steps, score, steps == self._points[-1] or steps < self._points[self._num_segments]

    def close(self) -> None:
        """Close the log."""
        self.run.close()
