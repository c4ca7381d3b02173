"""One private run, from its plan to a model and a statement; started again after a kill, it continues."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from orchestrator.budget.accounted_run import open_accounted_run
from orchestrator.budget.release_logs import RUN_HOLDER
from orchestrator.budget.reservation import StandingReservation, require_ledger_answers, reserve_plan
from orchestrator.budget.standing_noise import with_reserved_noise
from orchestrator.budget.statement import run_statement
from orchestrator.cluster.address import on_a_cluster
from orchestrator.cluster.demand import demand_of
from orchestrator.cluster.nodes import DriverMark, driver_mark, require_as_driver
from orchestrator.cluster.session import cluster_session, ray_session, run_on_worker_node
from orchestrator.planning.plan import Plan
from orchestrator.storage.bucket import publish
from orchestrator.storage.files import sync_files
from orchestrator.storage.log_copy import fetch_logs
from orchestrator.storage.paths import Storage, storage_of, with_absolute_paths
from orchestrator.storage.results import StoredRun, require_same_settings, write_config, write_result
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.card import write_card
from orchestrator.sweep.exported_model import export_and_compare
from orchestrator.sweep.monitor import SILENT, Announcer, Monitor, WorkFacts, announced
from orchestrator.sweep.trial import on_step, open_keyed_workspace
from trainers.config import RunConfig
from trainers.mechanism.log_reading import ReleasedSteps
from trainers.mechanism.release_log import LOG_NAME
from trainers.run.base_run import public_score
from trainers.run.context import Workspace
from trainers.run.replay_state import remove_states
from trainers.workers.ranks import Ranks
from trainers.workspace import check_inputs


class Trained(NamedTuple):
    """The steps and scores of a private run.

    `points` holds steps and score of each scoring; a score is None without validation data or without a token for it.
    """

    steps: int
    steps_charged: int
    zero_shot: float | None
    points: list[tuple[int, float | None]]

    @property
    def scores(self) -> list[float | None]:
        """The score of each point."""
        return [score for _, score in self.points]


@dataclass(frozen=True)
class PrivateRun:
    """The private run of a plan, for this process or as the task of several workers.

    Args:
        plan: of a run, or of a sweep that was tuned on public rows.
        storage: where it is written.
        values: settings that a search chose; empty for a run.
        mark: what a node must have in common with the driver, which holds the storage; any node is fit when None.
    """

    plan: Plan
    storage: Storage
    values: Mapping[str, Any] = field(default_factory=dict)
    mark: DriverMark | None = None

    def take(self, monitor: Monitor = SILENT) -> Trained:
        """Take the run in this process."""
        return self._take(self.plan.config, Ranks(), monitor)

    def __call__(self, ranks: Ranks, mailbox: Any) -> Trained:
        """Take the run together with the other ranks; rank 0 reserves, scores and exports."""
        from trainers.workers.ray_worker import with_worker_threads

        return self._take(with_worker_threads(self.plan.config), ranks, SILENT)

    def _take(self, config: RunConfig, ranks: Ranks, monitor: Monitor) -> Trained:
        if self.mark is not None:
            require_as_driver(self.storage, self.mark)
        with closing(open_keyed_workspace(config, self.storage, ranks, create_ledger=True)) as workspace:
            if ranks.is_rank_0:
                # only now: a model that does not load must leave no reservation
                reserve_plan(self.plan, self.storage, workspace.fingerprints)
                write_config(self.storage, self.plan.config)
                publish(self.storage.url, self.storage.folder, self.storage.config_file.name)
            return self._train(workspace, ranks, monitor)

    def _train(self, workspace: Workspace, ranks: Ranks, monitor: Monitor) -> Trained:
        config, storage = self.plan.trial(self.values), self.storage
        zero_shot = public_score(config, workspace) if ranks.is_rank_0 else None
        run = open_accounted_run(workspace, self.plan, config, storage, RUN_HOLDER, storage.folder, ranks=ranks)
        points = []
        with run.log:
            for point in run.segments(on_step(run, storage, RUN_HOLDER)):
                points.append(point)
                monitor.on_score(_as_trial(points, config))
        if ranks.is_rank_0:
            export_and_compare(config, workspace, storage.model_folder)
            sync_files(storage.model_folder)  # the results, which follow, say that the model is there
            publish(storage.url, storage.folder, storage.model_folder.name)
        return Trained(run.steps_taken, run.steps_charged, zero_shot, points)


def run_training(plan: Plan, monitor: Monitor = SILENT) -> StoredRun:
    """Take the planned run to its end and export the model; continue where an earlier call stopped.

    Raises:
        ValueError: the inputs are unusable, or the name belongs to another run.
        BudgetExceeded: the plan does not fit its budget.
    """
    started = time.monotonic()
    config = with_absolute_paths(plan.config)
    storage = storage_of(config)
    require_ledger_answers(storage)
    plan = with_reserved_noise(replace(plan, config=config), storage)
    check_inputs(config)
    with storage.lock(), cluster_session(config, demand_of(config), storage), announced(monitor) as announcer:
        require_same_settings(storage, config)
        storage.clear_progress()
        run = PrivateRun(plan, storage, mark=driver_mark(storage))
        trained = take_private_run(run, announcer)
        reserved = StandingReservation.of(storage)  # what the run has made
        reserved.ledger.close(storage.name)
        result = StoredRun(
            name=config.name,
            folder=storage.folder,
            model_folder=storage.model_folder,
            steps=trained.steps,
            steps_charged=trained.steps_charged,
            zero_shot=trained.zero_shot,
            score=trained.scores[-1],
            scores=trained.scores,
            seconds=time.monotonic() - started,
            statement=run_statement(plan, reserved),
        )
        write_card(storage.model_folder, plan.trial({}), result.statement, storage.folder / LOG_NAME)
        write_result(storage, result)
        remove_states(storage.folder)
        fetch_logs(storage)
        publish(storage.url, storage.folder)
        announcer.end(result)
    return result


def take_private_run(run: PrivateRun, announcer: Announcer) -> Trained:
    """Take a private run where `resources` wants it: in this process, on a node of the cluster, or on workers.

    The monitor is told that it begins; who has the result tells that it has ended.
    """
    config = run.plan.config
    count_steps = ReleasedSteps(run.storage.folder / LOG_NAME)
    facts = WorkFacts(
        "run", config.name, config.metric, config.method.num_steps, count_steps=count_steps, plan=run.plan
    )
    monitor = announcer.begin(facts)
    if config.resources.is_distributed:
        trained = _take_on_workers(run)
    elif on_a_cluster():
        trained = run_on_worker_node(demand_of(config), run.take)
    else:
        return run.take(monitor)
    for count in range(1, len(trained.points) + 1):
        monitor.on_score(_as_trial(trained.points[:count], config))
    return trained


def _take_on_workers(run: PrivateRun) -> Trained:
    """Take a private run on workers of Ray Train; it continues when some are lost."""
    from trainers.workers.mailbox import Mailbox
    from trainers.workers.ray_worker import run_workers, worker_resources

    config, storage = run.plan.config, run.storage
    num_cpus = math.ceil(config.resources.most_workers * worker_resources(config)["CPU"])
    with ray_session(num_cpus, demand_of(config)):
        return run_workers(run, config, storage.name, storage.operator_folder / "train", Mailbox.remote())


def _as_trial(points: Sequence[tuple[int, float | None]], config: RunConfig) -> TrialRow:
    """Return what a monitor is told of a run."""
    scores = [float(score) for _, score in points if score is not None]
    return TrialRow(0, {}, steps=points[-1][0], scores=scores, num_steps=config.method.num_steps)
