"""One run, from its configuration to a model and a statement; started again after a kill, it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from orchestrator.budget.accounted_run import RUN_HOLDER, open_accounted_run
from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.cluster.session import cluster_session, demand_of, on_a_cluster, ray_session, run_on_worker_node
from orchestrator.planning.plan import Plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import Storage, storage_of, with_absolute_paths
from orchestrator.storage.progress import ProgressFile
from orchestrator.storage.results import RunResult, require_same_settings, write_config, write_result
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import SILENT, Monitor, WorkFacts, monitored
from trainers.config import RunConfig
from trainers.mechanism.log_reading import ReleasedSteps
from trainers.mechanism.release_log import LOG_NAME
from trainers.run.base_run import public_score
from trainers.run.context import Workspace
from trainers.run.replay_state import remove_states
from trainers.workers.ranks import Ranks
from trainers.workspace import check_inputs, open_workspace


class Trained(NamedTuple):
    """What a private run reached."""

    steps: int
    steps_charged: int
    zero_shot: float | None
    points: list[tuple[int, float | None]]  # steps and score, each time the run was scored

    @property
    def scores(self) -> list[float | None]:
        """The scores; None where there is no validation data or no token was left."""
        return [score for _, score in self.points]

    @property
    def score(self) -> float | None:
        """The last score."""
        return self.scores[-1]


def run_training(plan: Plan, monitor: Monitor = SILENT) -> RunResult:
    """Take the planned steps, going on where an earlier call stopped, and export the model.

    Raises:
        ValueError: the inputs are unusable, or the name belongs to another run.
        BudgetExceeded: the plan does not fit its budget.
    """
    started = time.monotonic()
    config = with_absolute_paths(plan.config)
    plan = replace(plan, config=config)
    storage = storage_of(config)
    check_inputs(config)
    with storage.lock(), cluster_session(config, demand_of(config), storage):
        require_same_settings(storage, config)
        trained = take_private_run(plan, {}, storage, monitor)
        reserved = reserve_plan(plan, storage)  # which stands already
        reserved.ledger.close(storage.name)
        result = RunResult(
            name=config.name,
            folder=storage.folder,
            model_folder=storage.model_folder,
            steps=trained.steps,
            steps_charged=trained.steps_charged,
            zero_shot=trained.zero_shot,
            score=trained.score,
            scores=trained.scores,
            seconds=time.monotonic() - started,
            statement=run_statement(plan, reserved),
        )
        write_result(storage, result)
        remove_states(storage.folder)
    return result


def take_private_run(plan: Plan, values: Mapping[str, Any], storage: Storage, monitor: Monitor) -> Trained:
    """Reserve the plan and take its private run: here, where a cluster has room, or on the workers of `resources`."""
    config, training = plan.config, PrivateTraining(plan, values, storage)
    count_steps = ReleasedSteps(storage.folder / LOG_NAME)
    facts = WorkFacts("run", config.name, config.metric, config.method.num_steps, count_steps=count_steps)
    with monitored(monitor, facts):
        if not config.resources.is_distributed and not on_a_cluster():
            return training.take(monitor=monitor)
        if config.resources.is_distributed:
            trained = train_on_workers(training)
        else:
            trained = run_on_worker_node(demand_of(config), training.take)
        for count in range(len(trained.points)):
            monitor.on_score(_as_trial(trained.points[: count + 1], config))
    return trained


def _as_trial(points: Sequence[tuple[int, float | None]], config: RunConfig) -> TrialRow:
    """Return a run as a monitor is told of it."""
    scores = [score for _, score in points if score is not None]
    return TrialRow(0, {}, steps=points[-1][0], scores=scores, num_steps=config.method.num_steps)


def private_workspace(config: RunConfig, storage: Storage, ranks: Ranks | None = None) -> Workspace:
    """Load data and model of a private run; the coin that splits the data is the ledger's, which rank 0 asks."""
    if config.data.validation_share is None:
        return open_workspace(config)
    key = (ranks or Ranks()).broadcast(lambda: Ledger(storage.database_url).key().hex())
    return open_workspace(config, coin_key=bytes.fromhex(key))


def train_private(
    workspace: Workspace,
    plan: Plan,
    values: Mapping[str, Any],
    storage: Storage,
    ranks: Ranks | None = None,
    monitor: Monitor = SILENT,
) -> Trained:
    """Take the private run of a reservation, with the settings of a search where there was one, and export it.

    Where several ranks take it, rank 0 scores and exports.
    """
    config, leads = plan.trial(values), ranks is None or ranks.is_rank_0
    zero_shot = public_score(config, workspace) if leads else None
    run = open_accounted_run(workspace, plan, config, storage, RUN_HOLDER, storage.folder, ranks=ranks)
    num_steps = config.method.num_steps
    with run.log:
        segments = run.segments()
        if leads:
            segments = run.segments(ProgressFile(storage.progress_folder, RUN_HOLDER, num_steps, run.steps_released))
        points = []
        for point in segments:
            points.append(point)
            monitor.on_score(_as_trial(points, config))
    if leads:
        workspace.evaluator.export(storage.model_folder)
    return Trained(run.steps_taken, run.steps_charged, zero_shot, points)


@dataclass(frozen=True)
class PrivateTraining:
    """The private run of a plan, in this process or as a task of several workers."""

    plan: Plan
    values: Mapping[str, Any]
    storage: Storage

    def take(self, ranks: Ranks | None = None, monitor: Monitor = SILENT) -> Trained:
        """Reserve the plan when the model is loaded (one that is broken must leave no reservation), and train."""
        with closing(private_workspace(self._config(ranks), self.storage, ranks)) as workspace:
            if ranks is None or ranks.is_rank_0:
                reserve_plan(self.plan, self.storage)
                write_config(self.storage, self.plan.config)
            return train_private(workspace, self.plan, self.values, self.storage, ranks, monitor)

    def __call__(self, ranks: Ranks, mailbox: Any) -> Trained:
        """Take it together with the other ranks."""
        return self.take(ranks)

    def _config(self, ranks: Ranks | None) -> RunConfig:
        if ranks is None:
            return self.plan.config
        from trainers.workers.ray_worker import with_worker_threads

        return with_worker_threads(self.plan.config)


def train_on_workers(training: PrivateTraining) -> Trained:
    """Take a private run on workers of Ray Train; it goes on when some are lost."""
    from trainers.workers.mailbox import Mailbox
    from trainers.workers.ray_worker import run_workers, worker_resources

    config, storage = training.plan.config, training.storage
    with ray_session(math.ceil(config.resources.most_workers * worker_resources(config)["CPU"])):
        return run_workers(training, config, storage.name, storage.operator_folder / "train", Mailbox.remote())
