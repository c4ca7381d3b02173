"""A lane: one Tune actor that keeps its model loaded and runs one trial after the other.

Loading takes longer than a short trial, so data, tokenizer and model are loaded once (`reuse_actors`), and a trial
starts by setting θ to the base weights. Tune starts a trial that died again; the trial finds its release log and
continues: no step is released twice, and a step that was interrupted stays charged. Where `resources` gives a trial
several workers, the lane keeps a group of workers instead of a model (lane_workers.py).
"""

from typing import Any, Protocol

from ray import tune

from orchestrator.cluster.demand import demand_of
from orchestrator.sweep.trial import SweepContext, Trial
from trainers.config import RunConfig


class TrialRunner(Protocol):
    """Runs the trials of a lane."""

    def begin(self, values: dict[str, Any]) -> None:
        """End the trial before, and begin the next one."""

    def report(self) -> dict[str, Any]:
        """Train to the next score and return what `Trial.report` returns."""
        ...

    def close(self) -> None:
        """Release the model or the workers."""


class InProcessRunner:
    """Runs trials in the lane's own process."""

    def __init__(self, context: SweepContext) -> None:
        self._context = context
        context.require_fit_node()
        self.workspace = context.workspace()
        self.trial: Trial | None = None

    def begin(self, values: dict[str, Any]) -> None:
        """Begin the next trial with the loaded model."""
        self._end()
        self.trial = Trial(self._context, self.workspace, values)

    def report(self) -> dict[str, Any]:
        """Train to the next score."""
        assert self.trial is not None
        return self.trial.report()

    def close(self) -> None:
        """Close the trial's log and the evaluator."""
        self._end()
        self.workspace.close()

    def _end(self) -> None:
        if self.trial is not None:
            self.trial.close()


def trial_runner(context: SweepContext) -> TrialRunner:
    """Return what runs the trials of a lane: its own process, or a group of workers."""
    if not context.config.resources.is_distributed:
        return InProcessRunner(context)
    from orchestrator.sweep.lane_workers import WorkerGroupRunner

    return WorkerGroupRunner(context)


class Lane(tune.Trainable):
    """Runs trials segment by segment; each result is a score."""

    def setup(self, config: dict[str, Any], context: SweepContext) -> None:
        """Load what trials share and begin the first one."""
        number = f", {config['number']}" if context.storage.releases_trials else ""
        self._name = f"Lane({context.storage.name}{number})"
        self._runner = trial_runner(context)
        self._runner.begin(config)

    def __repr__(self) -> str:
        """Name the lane on Ray's dashboard and in its logs: by its sweep, and by its first trial unless secret."""
        return self._name

    def step(self) -> dict[str, Any]:
        """Train to the next score and report it; `finished` marks the last one."""
        return self._runner.report()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial with what is loaded."""
        self._runner.begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the release log is the checkpoint."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: `setup` and `reset_config` replay the release log."""

    def cleanup(self) -> None:
        """Close the last trial's log and release the model or the workers."""
        self._runner.close()


def lane_resources(config: RunConfig, threads: int) -> tune.PlacementGroupFactory:
    """Return what Tune reserves for a lane: its threads and GPUs, or almost nothing where workers have their own."""
    if config.resources.is_distributed:  # every head has this resource, and it takes no CPU from the workers
        return tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])
    demand = demand_of(config, threads)
    labels: dict[str, Any] = {"bundle_label_selector": [dict(demand.labels)]} if demand.labels else {}
    return tune.PlacementGroupFactory([demand.resources_per_worker], **labels)
