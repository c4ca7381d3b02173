"""One run, from its configuration to a model and a statement; started again after a kill, it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rich.console import Console

from orchestrator.budget.accounted_run import RUN_HOLDER, open_accounted_run
from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.cli.views.live import run_view, steps_bar
from orchestrator.cluster.session import cluster_session, demand_of, on_a_cluster, ray_session, where_it_fits
from orchestrator.planning.plan import Plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import Storage, storage_of, with_absolute_paths
from orchestrator.storage.progress import Pulse
from orchestrator.storage.results import RunResult, require_same_settings, write_config, write_result
from trainers.config import RunConfig
from trainers.mechanism.release_log import ReleasedSteps
from trainers.run.base_run import LOG_NAME, Workspace, public_score
from trainers.run.replay_state import remove_states
from trainers.workers.ranks import Ranks
from trainers.workspace import check_inputs, open_workspace


class Trained(NamedTuple):
    """What a private run reached."""

    steps: int
    steps_charged: int
    zero_shot: float | None
    scores: list[float | None]

    @property
    def score(self) -> float | None:
        """The last score."""
        return self.scores[-1]


def run_training(plan: Plan, console: Console) -> RunResult:
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
        trained = take_private_run(plan, {}, storage, console)
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


def take_private_run(plan: Plan, values: Mapping[str, Any], storage: Storage, console: Console) -> Trained:
    """Reserve the plan and take its private run: here, where a cluster has room, or on the workers of `resources`."""
    config, training = plan.config, PrivateTraining(plan, values, storage)
    if not config.resources.is_distributed and not on_a_cluster():
        return training.take(console)
    with run_view(console, config.name, config.method.num_steps, ReleasedSteps(storage.folder / LOG_NAME)):
        if config.resources.is_distributed:
            return train_on_workers(training)
        return where_it_fits(demand_of(config), training.take, Console(quiet=True))


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
    console: Console,
    ranks: Ranks | None = None,
) -> Trained:
    """Take the private run of a reservation, with the settings of a search where there was one, and export it.

    Where several ranks take it, rank 0 scores and exports.
    """
    config, leads = plan.trial(values), ranks is None or ranks.is_rank_0
    zero_shot = public_score(config, workspace) if leads else None
    run = open_accounted_run(workspace, plan, config, storage, RUN_HOLDER, storage.folder, ranks=ranks)
    pulse = Pulse(storage.progress_folder, RUN_HOLDER, config.method.num_steps, run.steps_released) if leads else None
    with run.log, steps_bar(console) as bar:
        task = bar.add_task(config.name, total=config.method.num_steps, completed=run.steps_taken)

        def on_step(taken: int) -> None:
            bar.update(task, completed=taken)
            if pulse is not None:
                pulse(taken)

        scores = [score for _, score in run.segments(on_step)]
    if leads:
        workspace.evaluator.export(storage.model_folder)
    return Trained(run.steps_taken, run.steps_charged, zero_shot, scores)


@dataclass(frozen=True)
class PrivateTraining:
    """The private run of a plan, in this process or as a task of several workers."""

    plan: Plan
    values: Mapping[str, Any]
    storage: Storage

    def take(self, console: Console, ranks: Ranks | None = None) -> Trained:
        """Reserve the plan when the model is loaded (one that is broken must leave no reservation), and train."""
        with closing(private_workspace(self._config(ranks), self.storage, ranks)) as workspace:
            if ranks is None or ranks.is_rank_0:
                reserve_plan(self.plan, self.storage)
                write_config(self.storage, self.plan.config)
            return train_private(workspace, self.plan, self.values, self.storage, console, ranks)

    def __call__(self, ranks: Ranks, mailbox: Any) -> Trained:
        """Take it together with the other ranks."""
        return self.take(Console(quiet=True), ranks)

    def _config(self, ranks: Ranks | None) -> RunConfig:
        if ranks is None:
            return self.plan.config
        from trainers.workers.ray_worker import with_worker_threads

        return with_worker_threads(self.plan.config)


def train_on_workers(training: PrivateTraining) -> Trained:
    """Take a private run on workers of Ray Train; it goes on when some are lost."""
    from trainers.workers.ray_worker import Mailbox, run_workers, worker_resources

    config, storage = training.plan.config, training.storage
    with ray_session(math.ceil(config.resources.most_workers * worker_resources(config)["CPU"])):
        return run_workers(training, config, storage.name, storage.operator_folder / "train", Mailbox.remote())
