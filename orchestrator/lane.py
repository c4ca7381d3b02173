"""A lane: one Tune actor that keeps its model loaded and takes one trial after the other.

Loading dominates a short trial, so with `reuse_actors` the workspace (data, tokenizer, model) is made once; a trial
starts by setting θ to the base weights. A trial that dies is started again by Tune, finds its release log and goes on:
no step is released twice, and an interrupted one stays charged. Where `resources` gives a trial several workers, the
lane keeps them instead of a model (lane_workers.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray import tune

from orchestrator.ledgered import holder_of, open_ledgered_run
from orchestrator.metrics import Metrics
from orchestrator.planning import Plan, finite_or_none
from orchestrator.privacy.drawer import patiently
from orchestrator.privacy.ledger import Ledger
from orchestrator.progress import Pulse
from orchestrator.storage import Storage
from orchestrator.tuning import PublicRows, open_public_run
from search_spaces.config import MENU
from trainers.base_run import BaseRun, Workspace
from trainers.config import PerformanceConfig, RunConfig
from trainers.ranks import Ranks
from trainers.stops import Diverged
from trainers.workspace import open_workspace

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
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
        return config if self.tune_on is None else self.tune_on.put_into(config)

    def workspace(self, ranks: Ranks | None = None) -> Workspace:
        """Load what all trials of a lane share; of several ranks the first asks the ledger for its key."""
        key = None
        if self.config.data.validation_share is not None:
            key = bytes.fromhex((ranks or Ranks()).told(self._key))
        return open_workspace(self.config, coin_key=key)

    def open(self, workspace: Workspace, values: dict[str, Any], number: int, ranks: Ranks | None = None) -> BaseRun:
        """Open trial `number`: with tokens from the ledger, or on public rows with none."""
        trial = self.plan.trial(values)
        folder = self.storage.trial_folder(number)
        if self.tune_on is not None:
            return open_public_run(workspace, self.tune_on.put_into(trial), folder, ranks)
        holder = holder_of(number)
        return open_ledgered_run(workspace, self.plan, trial, self.storage, holder, folder, values.get(MENU), ranks)

    def metrics(self, number: int) -> Metrics | None:
        """Return what tells Ray of trial `number`; None where trials stay secret, and outside a cluster."""
        if not self.storage.releases_trials or not ray.is_initialized():
            return None
        return Metrics(self.storage.name, holder_of(number))

    def pulse(self, run: BaseRun, number: int) -> Callable[[int], None]:
        """Return what takes note of each step of trial `number`, on rank 0: nothing where trials stay secret."""
        if not self.storage.releases_trials or not run.ranks.leads:
            return lambda step: None
        num_steps = run.config.method.num_steps
        return Pulse(self.storage.progress_folder, holder_of(number), num_steps, run.steps_released)

    def epsilon_after(self, run: BaseRun) -> float:
        """Return what a trial has cost so far by itself: nothing on public rows."""
        return 0.0 if self.tune_on is not None else self.plan.epsilon_after(run.config, run.steps_charged)

    def _key(self) -> str:
        url, patience_s = self.storage.database_url, self.storage.patience_s
        return patiently(lambda: Ledger(url, create=False).key(), patience_s).hex()


class Trial:
    """A trial at work, from score to score.

    Args:
        job: the sweep's.
        workspace: loaded.
        values: of the search, with the trial's `number`.
        ranks: who takes it, where several do.
    """

    def __init__(self, job: Job, workspace: Workspace, values: dict[str, Any], ranks: Ranks | None = None) -> None:
        values = dict(values)
        number = values.pop("number")
        self._job = job
        self.run = job.open(workspace, values, number, ranks)
        self._points = self.run.score_points()
        self._num_segments = 0
        self._metrics = job.metrics(number)
        self._segments = self.run.segments(job.pulse(self.run, number))

    def report(self) -> dict[str, Any]:
        """Train to the next score and return it; `finished` says that it was the last. Rank 0 alone has a score."""
        steps, score, finished = self._segment()
        self._num_segments += 1
        if finished:
            self.close()  # whoever exports the best model opens the log
        if not self.run.ranks.leads:
            return {}
        epsilon = finite_or_none(self._job.epsilon_after(self.run))
        if self._metrics is not None:
            self._metrics.scored(steps, score, epsilon)
        return {
            "score": math.nan if score is None else score,
            "steps": steps,
            "steps_charged": self.run.steps_charged,
            "num_steps": self._points[-1],
            "epsilon": epsilon,
            "sweep_epsilon": finite_or_none(self._job.plan.epsilon),
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


class Crew(Protocol):
    """Whoever takes the trials of a lane."""

    def begin(self, values: dict[str, Any]) -> None:
        """Take the next trial, and no more of the one before."""
        ...

    def report(self) -> dict[str, Any]:
        """Train to the next score and return what `Trial.report` says."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class OneProcess:
    """The lane itself, with the model in its own process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.workspace = job.workspace()
        self.trial: Trial | None = None

    def begin(self, values: dict[str, Any]) -> None:
        """Take the next trial with the model that is loaded."""
        self._end()
        self.trial = Trial(self._job, self.workspace, values)

    def report(self) -> dict[str, Any]:
        """Train to the next score."""
        assert self.trial is not None
        return self.trial.report()

    def close(self) -> None:
        """Close the trial's log, and give back what the evaluator holds."""
        self._end()
        self.workspace.close()

    def _end(self) -> None:
        if self.trial is not None:
            self.trial.close()


def crew_of(job: Job) -> Crew:
    """Return who takes the trials: the lane itself, or workers of its own."""
    if not job.config.resources.is_distributed:
        return OneProcess(job)
    from orchestrator.lane_workers import Workers

    return Workers(job)


class Lane(tune.Trainable):
    """Runs trials segment by segment; every result is a score."""

    def setup(self, config: dict[str, Any], job: Job) -> None:
        """Load what trials share and begin the first one."""
        self._crew = crew_of(job)
        self._crew.begin(config)

    def step(self) -> dict[str, Any]:
        """Train to the next score and report it; `finished` says that it was the last."""
        return self._crew.report()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial with what is loaded."""
        self._crew.begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the release log is the checkpoint."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: `setup` and `reset_config` replay the release log."""

    def cleanup(self) -> None:
        """Close the last trial's log, and dismiss the workers."""
        self._crew.close()


def lane_needs(config: RunConfig, threads: int) -> dict[str, float]:
    """Return what Tune sets aside for a lane: its threads, or next to nothing where its workers have their own."""
    if not config.resources.is_distributed:
        gpus = config.resources.gpus_per_worker
        return {"CPU": threads} | ({"GPU": gpus} if gpus else {})
    return {"node:__internal_head__": 0.001}  # every head has it, and it takes no CPU from the workers
