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
from orchestrator.storage import Storage
from search_spaces.space import apply
from trainers.config import RunConfig
from trainers.workspace import open_workspace


@dataclass(frozen=True)
class Job:
    """What every trial of a sweep shares; it travels to the lanes."""

    plan: Plan
    config: RunConfig
    storage: Storage


class Lane(tune.Trainable):
    """Runs trials segment by segment; every result is a score."""

    def setup(self, config: dict[str, Any], job: Job) -> None:
        """Make the workspace and begin the first trial."""
        self._job = job
        self._workspace = open_workspace(job.config)
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
            "epsilon": finite_or_none(self._job.plan.epsilon_after(self._run.steps_charged)),
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
        """Close the last trial's log."""
        self._run.close()

    def _begin(self, config: dict[str, Any]) -> None:
        values = dict(config)
        number = values.pop("number")
        run_config = apply(self._job.config, values)
        storage = self._job.storage
        self._run = open_ledgered_run(
            self._workspace,
            run_config,
            self._job.plan.noise_multiplier,
            storage,
            holder=holder_of(number),
            folder=storage.trial_folder(number),
        )
        self._points = self._run.score_points()
        self._num_segments = 0
        self._segments = self._run.segments()
