"""A lane: one Tune actor that keeps its model loaded and takes one trial after the other.

Loading dominates a short trial, so with `reuse_actors` the workspace (data, tokenizer, model) is made once; a trial
starts by setting θ to the base weights. A trial that dies is started again by Tune, finds its release log and goes on:
no step is released twice, and an interrupted one stays charged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ray import tune

from orchestrator.ledgered import holder_of, open_ledgered_run
from orchestrator.planning import Plan, finite_or_none
from orchestrator.privacy.drawer import patiently
from orchestrator.privacy.ledger import Ledger
from orchestrator.storage import Storage
from orchestrator.tuning import PublicRows, open_public_run
from search_spaces.config import MENU
from trainers.config import PerformanceConfig, RunConfig
from trainers.run import BaseRun, Workspace
from trainers.workspace import open_workspace


@dataclass(frozen=True)
class Job:
    """What every trial of a sweep shares; it travels to the lanes.

    Args:
        plan: the sweep's.
        performance: that of one lane.
        storage: where logs and ledger are.
        tune_on: rows to train on instead of the private ones, for nothing.
    """

    plan: Plan
    performance: PerformanceConfig
    storage: Storage
    tune_on: PublicRows | None = None

    def workspace(self) -> Workspace:
        """Load what all trials of a lane share."""
        config = self._config()
        key = None
        if config.data.validation_share is not None:
            url, patience_s = self.storage.database_url, self.storage.patience_s
            key = patiently(lambda: Ledger(url, create=False).key(), patience_s)
        return open_workspace(config, coin_key=key)

    def open(self, workspace: Workspace, values: dict[str, Any], number: int) -> BaseRun:
        """Open trial `number`: with tokens from the ledger, or on public rows with none."""
        trial = self.plan.trial(values)
        folder = self.storage.trial_folder(number)
        if self.tune_on is not None:
            return open_public_run(workspace, self.tune_on.put_into(trial), folder)
        return open_ledgered_run(workspace, self.plan, trial, self.storage, holder_of(number), folder, values.get(MENU))

    def epsilon_after(self, run: BaseRun) -> float:
        """Return what a trial has cost so far by itself: nothing on public rows."""
        return 0.0 if self.tune_on is not None else self.plan.epsilon_after(run.config, run.steps_charged)

    def _config(self) -> RunConfig:
        config = self.plan.config.model_copy(update={"performance": self.performance})
        return config if self.tune_on is None else self.tune_on.put_into(config)


class Lane(tune.Trainable):
    """Runs trials segment by segment; every result is a score."""

    def setup(self, config: dict[str, Any], job: Job) -> None:
        """Make the workspace and begin the first trial."""
        self._job = job
        self._workspace = job.workspace()
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """Train to the next score and report it; `finished` says that it was the last."""
        steps, score = next(self._segments)
        finished = steps == self._points[-1] or steps < self._points[self._num_segments]
        self._num_segments += 1
        if finished:
            self._run.close()  # whoever exports the best model opens the log
        return {
            "score": math.nan if score is None else score,
            "steps": steps,
            "steps_charged": self._run.steps_charged,
            "num_steps": self._points[-1],
            "epsilon": finite_or_none(self._job.epsilon_after(self._run)),
            "sweep_epsilon": finite_or_none(self._job.plan.epsilon),
            "finished": finished,
            "done": finished,
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial with the model that is loaded."""
        self._run.close()
        self._begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the release log is the checkpoint."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: `setup` and `reset_config` replay the release log."""

    def cleanup(self) -> None:
        """Close the last trial's log, and give back what the engine holds."""
        self._run.close()
        self._workspace.close()

    def _begin(self, config: dict[str, Any]) -> None:
        values = dict(config)
        number = values.pop("number")
        self._run = self._job.open(self._workspace, values, number)
        self._points = self._run.score_points()
        self._num_segments = 0
        self._segments = self._run.segments()
