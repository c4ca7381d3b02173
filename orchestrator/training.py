"""One run, from its configuration to a model and a statement; started again after a kill, it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, NamedTuple

from rich.console import Console

from orchestrator.ledgered import open_ledgered_run
from orchestrator.planning import Plan
from orchestrator.privacy.ledger import Ledger
from orchestrator.records import RunResult, require_same_settings, write_config, write_result
from orchestrator.report.live import steps_bar
from orchestrator.reservation import reserve
from orchestrator.statements import statement_of
from orchestrator.storage import Storage, storage_of, with_absolute_paths
from trainers.config import RunConfig
from trainers.run import Workspace, public_score
from trainers.workspace import check_inputs, open_workspace

HOLDER = "run"


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
    with storage.lock():
        require_same_settings(storage, config)
        # before the reservation: a broken model must not leave one
        with closing(private_workspace(config, storage)) as workspace:
            reserved = reserve(plan, storage)
            write_config(storage, config)
            trained = train_private(workspace, plan, {}, storage, console)
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
            statement=statement_of(plan, reserved),
        )
        write_result(storage, result)
    return result


def private_workspace(config: RunConfig, storage: Storage) -> Workspace:
    """Load data and model of a private run; the coin that splits the data is the ledger's."""
    key = None if config.data.validation_share is None else Ledger(storage.database_url).key()
    return open_workspace(config, coin_key=key)


def train_private(
    workspace: Workspace, plan: Plan, values: Mapping[str, Any], storage: Storage, console: Console
) -> Trained:
    """Take the private run of a reservation, with the settings of a search where there was one, and export it."""
    config = plan.trial(values)
    zero_shot = public_score(config, workspace)
    run = open_ledgered_run(workspace, plan, config, storage, HOLDER, storage.folder)
    with run.log, steps_bar(console) as bar:
        task = bar.add_task(config.name, total=config.method.num_steps, completed=run.steps_taken)
        scores = [score for _, score in run.segments(lambda taken: bar.update(task, completed=taken))]
    workspace.evaluator.export(storage.model_folder)
    return Trained(run.steps_taken, run.steps_charged, zero_shot, scores)
