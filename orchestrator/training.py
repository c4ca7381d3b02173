"""One run, from its configuration to a model and a statement; started again after a kill, it goes on."""

from __future__ import annotations

import time

from rich.console import Console

from orchestrator.ledgered import open_ledgered_run
from orchestrator.planning import Plan
from orchestrator.records import RunResult, require_same_settings, write_config, write_result
from orchestrator.report.live import steps_bar
from orchestrator.reservation import reserve
from orchestrator.statements import statement_of
from orchestrator.storage import storage_of, with_absolute_paths
from trainers.scoring import public_score
from trainers.workspace import check_inputs, open_workspace

HOLDER = "run"


def run_training(plan: Plan, console: Console) -> RunResult:
    """Take the planned steps, going on where an earlier call stopped, and export the model.

    Raises:
        ValueError: the inputs are unusable, or the name belongs to another run.
        BudgetExceeded: the plan does not fit its budget.
    """
    started = time.monotonic()
    config = with_absolute_paths(plan.config)
    storage = storage_of(config)
    check_inputs(config)
    with storage.lock():
        require_same_settings(storage, config)
        workspace = open_workspace(config)  # before the reservation: a model that does not load must not leave one
        ledger = reserve(plan, storage)
        write_config(storage, config)
        public = config.data.validation is not None and config.score.on == "public"
        zero_shot = public_score(workspace.evaluator, workspace.validation, config.task) if public else None
        run = open_ledgered_run(workspace, config, plan.noise_multiplier, storage, HOLDER, storage.folder)
        with run.log, steps_bar(console) as bar:
            task = bar.add_task(config.name, total=config.method.num_steps, completed=run.steps_taken)
            scores = [score for _, score in run.segments(lambda taken: bar.update(task, completed=taken))]
        workspace.evaluator.export(storage.model_folder)
        result = RunResult(
            name=config.name,
            folder=storage.folder,
            model_folder=storage.model_folder,
            steps=run.steps_taken,
            steps_charged=run.steps_charged,
            zero_shot=zero_shot,
            score=scores[-1],
            scores=scores,
            seconds=time.monotonic() - started,
            statement=statement_of(plan, ledger),
        )
        write_result(storage, result)
    return result
