"""A lane: one Tune actor that keeps its model loaded and takes one trial after the other.

Loading dominates a short trial, so with `reuse_actors` the workspace (data, tokenizer, model) is made once; a trial
starts by setting θ to the base weights. A trial that dies is started again by Tune, finds its release log and goes on:
no step is released twice, and an interrupted one stays charged. Where `resources` gives a trial several workers, the
lane keeps them instead of a model (lane_workers.py).
"""

from __future__ import annotations

from typing import Any, Protocol

from ray import tune

from orchestrator.sweep.trial import SweepContext, Trial
from trainers.config import RunConfig


class TrialRunner(Protocol):
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


class InProcessRunner:
    """The lane itself, with the model in its own process."""

    def __init__(self, context: SweepContext) -> None:
        self._context = context
        self.workspace = context.workspace()
        self.trial: Trial | None = None

    def begin(self, values: dict[str, Any]) -> None:
        """Take the next trial with the model that is loaded."""
        self._end()
        self.trial = Trial(self._context, self.workspace, values)

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


def trial_runner(context: SweepContext) -> TrialRunner:
    """Return who takes the trials: the lane itself, or workers of its own."""
    if not context.config.resources.is_distributed:
        return InProcessRunner(context)
    from orchestrator.sweep.lane_workers import WorkerGroupRunner

    return WorkerGroupRunner(context)


class Lane(tune.Trainable):
    """Runs trials segment by segment; every result is a score."""

    def setup(self, config: dict[str, Any], context: SweepContext) -> None:
        """Load what trials share and begin the first one."""
        self._runner = trial_runner(context)
        self._runner.begin(config)

    def step(self) -> dict[str, Any]:
        """Train to the next score and report it; `finished` says that it was the last."""
        return self._runner.report()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial with what is loaded."""
        self._runner.begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the release log is the checkpoint."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: `setup` and `reset_config` replay the release log."""

    def cleanup(self) -> None:
        """Close the last trial's log, and dismiss the workers."""
        self._runner.close()


def lane_resources(config: RunConfig, threads: int) -> dict[str, float]:
    """Return what Tune sets aside for a lane: its threads, or next to nothing where its workers have their own."""
    if not config.resources.is_distributed:
        gpus = config.resources.gpus_per_worker
        return {"CPU": threads} | ({"GPU": gpus} if gpus else {})
    return {"node:__internal_head__": 0.001}  # every head has it, and it takes no CPU from the workers
