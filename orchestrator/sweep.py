"""A sweep: Ray Tune runs the trials on lanes, Optuna chooses them, the ledger lets them step, one epsilon covers all.

Before the first trial the caps are reserved; the reported epsilon is theirs, whatever the trials use. A sweep that was
killed goes on when it is started again under its name: the study knows which trials ended, those that had not are taken
up again with their settings, and each replays its release log.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from rich.console import Console

from orchestrator.board import Board
from orchestrator.config import SweepConfig
from orchestrator.lane import Job, Lane
from orchestrator.ledgered import holder_of, require_ledger_knows
from orchestrator.planning import Plan
from orchestrator.privacy.composition import TRAIN_STEP
from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.records import SweepResult, read_result, require_same_settings, write_config, write_result
from orchestrator.report.live import live_view
from orchestrator.reservation import reserve
from orchestrator.session import ray_session, threads_per_trial
from orchestrator.statements import statement_of
from orchestrator.storage import Storage, storage_of, with_absolute_paths
from orchestrator.study import METRIC, TruthfulSearch, open_search
from search_spaces.space import apply
from trainers.run import Run, Tokens, Workspace, mechanism_plan, require_resolution
from trainers.scoring import public_score
from trainers.tokens import LocalTokens
from trainers.workspace import check_inputs, open_workspace

RESOLUTION = ("method.smoothing", "method.clip_norm")  # what decides whether rounding matters; smaller is worse
MAX_RESTARTS = 3  # of one trial, after its lane died; each goes on from the release log


@dataclass(frozen=True)
class _Sweep:
    """What the parts of one sweep share."""

    plan: Plan
    config: SweepConfig
    storage: Storage
    threads: int


def run_sweep(plan: Plan, console: Console) -> SweepResult:
    """Run all trials of a plan and export the best model.

    Raises:
        ValueError: the inputs are unusable, the machine too small, or the name belongs to another or a finished sweep.
        BudgetExceeded: the plan does not fit its budget.
    """
    started = time.monotonic()
    sweep = _prepare(plan)
    config, storage = sweep.config, sweep.storage
    with storage.lock():
        require_same_settings(storage, config)
        zero_shot = _zero_shot(sweep)  # before the reservation: a model that does not load must not leave one
        ledger = reserve(plan, storage)
        require_ledger_knows(ledger, storage)
        write_config(storage, config)
        search = open_search(config.search, config.name, storage.database_url)
        board = Board(search.ended_trials())
        view = live_view(
            console,
            board,
            sorted(config.search.space.root),
            num_trials=config.search.num_trials,
            num_steps=config.method.num_steps,
            steps_drawn=lambda: ledger.drawn(config.name, TRAIN_STEP),
        )
        with ray_session(config.search.concurrent_trials * sweep.threads), view:
            _run_trials(sweep, search, board)
        for row in board.rows:  # also of failed trials, and of those that an earlier process ran
            row.steps_charged = ledger.drawn(config.name, TRAIN_STEP, holder_of(row.number))
            row.epsilon = plan.epsilon_after(row.steps_charged)
        _export_best(sweep, board)
        result = SweepResult(
            name=config.name,
            folder=storage.folder,
            model_folder=storage.model_folder if board.best() else None,
            trials=board.rows,
            best=board.best(),
            zero_shot=zero_shot,
            seconds=time.monotonic() - started,
            statement=statement_of(plan, ledger),
        )
        write_result(storage, result)
    return result


def _prepare(plan: Plan) -> _Sweep:
    """Check everything that can be checked before a model is loaded or a token reserved."""
    config = with_absolute_paths(plan.config)
    assert isinstance(config, SweepConfig)
    threads = threads_per_trial(config)
    storage = storage_of(config)
    if read_result(storage) is not None:
        raise ValueError(
            f"name: the sweep {config.name!r} is finished, its results are in {storage.folder}. Give a new sweep "
            f"another name, such as --set name={config.name}-2."
        )
    check_inputs(config)
    return _Sweep(plan, config, storage, threads)


def _run_trials(sweep: _Sweep, search: TruthfulSearch, board: Board) -> None:
    """Run the trials that have not ended yet."""
    config, storage = sweep.config, sweep.storage
    to_come = config.search.num_trials - len(board.rows)
    if to_come <= 0:
        return
    performance = config.performance.model_copy(update={"num_threads": sweep.threads})
    job = Job(
        plan=sweep.plan,
        config=config.model_copy(update={"performance": performance}),
        storage=storage,
    )
    asha = config.search.early_stopping == "asha"
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Lane, job=job), {"CPU": sweep.threads}),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=ASHAScheduler(metric=METRIC, mode="max", max_t=config.score.times) if asha else None,
            num_samples=to_come,
            max_concurrent_trials=config.search.concurrent_trials,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:03d}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=time.strftime("tune-%Y%m%d-%H%M%S"),
            storage_path=str(storage.folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_RESTARTS),
            callbacks=[board],
        ),
    )
    errors = tuner.fit().errors
    for error in errors:
        if isinstance(error, LedgerCorruptError):
            raise error
    if errors and board.best() is None:
        raise RuntimeError(f"no trial finished; the first one that failed said: {errors[0]}")


def _zero_shot(sweep: _Sweep) -> float | None:
    """Return how good the base model is on the public validation set, None where that set is private.

    Raises:
        ValueError: the model does not load, or a probe of the smallest radius that may be tried is lost in rounding.
    """
    config = sweep.config
    workspace = open_workspace(config, private=False)
    ends = {
        name: min(parameter.ends) for name, parameter in config.search.space.root.items() if name.startswith(RESOLUTION)
    }
    smallest = apply(config, ends)
    mechanism = mechanism_plan(smallest, sweep.plan.noise_multiplier)
    require_resolution(workspace.rounding, mechanism, smallest)
    return public_score(workspace.evaluator, workspace.validation) if workspace.validation else None


def _export_best(sweep: _Sweep, board: Board) -> None:
    """Rebuild the best trial's model from its release log and export it.

    Raises:
        ValueError: the log holds fewer steps than the trial has taken.
    """
    config, best = sweep.config, board.best()
    if best is None:
        return
    evaluator = open_workspace(config, private=False).evaluator
    trial = apply(config, best.values)
    nothing = LocalTokens(0)
    replayed = Run(
        Workspace([], [], evaluator),
        trial,
        mechanism_plan(trial, sweep.plan.noise_multiplier),
        Tokens(nothing, nothing),
        sweep.storage.trial_folder(best.number),
    )
    with replayed.log:
        replayed.replay()
    if replayed.steps_taken < best.steps:
        raise ValueError(
            f"{replayed.log.path} holds {replayed.steps_taken} of the {best.steps} steps that trial {best.number} "
            "released: the log was lost or cut. Bring it back, and start the sweep again."
        )
    evaluator.export(sweep.storage.model_folder)
