"""A sweep: Optuna chooses trials, Ray Tune runs them on lanes, the ledger pays for each step, one epsilon covers all.

The rule's caps are reserved before the first trial; the reported epsilon is theirs, whatever the trials use. A sweep
that was killed continues when it is started again under its name: the study knows which trials ended, and the others
keep their settings and replay their release logs.
"""

import time
from dataclasses import replace
from threading import Event
from typing import Any

from ray import tune
from ray.tune import TuneError

from orchestrator.budget.release_logs import holder_of
from orchestrator.budget.reservation import StandingReservation, reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.cluster.demand import demand_of
from orchestrator.cluster.nodes import driver_mark
from orchestrator.cluster.ray_dashboard import job_metadata, opened_dashboard
from orchestrator.cluster.session import cluster_session, cpus_at_once, ray_session, run_on_worker_node
from orchestrator.planning.facts import finite_or_none
from orchestrator.planning.plan import Plan
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.storage.bucket import publish
from orchestrator.storage.log_copy import fetch_logs
from orchestrator.storage.results import (
    StoredSweep,
    date_released_files,
    require_same_settings,
    write_config,
    write_result,
)
from orchestrator.storage.trials import TrialRow, front_of
from orchestrator.sweep.board import MAX_LOSSES, TrialBoard, fatal_cause
from orchestrator.sweep.card import write_card
from orchestrator.sweep.lane import Lane, lane_resources
from orchestrator.sweep.monitor import SILENT, Announcer, Monitor, WorkFacts, announced, copy_of
from orchestrator.sweep.preparation import prepare_sweep, zero_shot_score
from orchestrator.sweep.ray_metrics import SweepGauges
from orchestrator.sweep.rebuild import publish_best
from orchestrator.sweep.room import TokenRoom
from orchestrator.sweep.schedulers import make_scheduler, score_error
from orchestrator.sweep.single_run import PrivateRun, take_private_run
from orchestrator.sweep.study import METRIC, TOKENS_DRAWN, DrawnTokens, TruthfulSearch, open_search
from orchestrator.sweep.tensorboard import TensorBoardFiles
from orchestrator.sweep.trial import SweepContext
from orchestrator.sweep.warm_start import earlier_trials
from trainers.mechanism.release_log import LOG_NAME, Stopped
from trainers.run.replay_state import remove_states


def run_sweep(plan: Plan, monitor: Monitor = SILENT, stopping: Event | None = None) -> StoredSweep:
    """Run all trials of a plan and export the best model.

    Args:
        plan: of the sweep.
        monitor: is told how the trials go.
        stopping: is set, by another thread, to end the sweep where it is.

    Raises:
        ValueError: the inputs are unusable, the machine too small, or the name belongs to another or a finished sweep.
        BudgetExceeded: the plan does not fit its budget.
        Stopped: a trial has not ended; started again, the sweep continues.
    """
    started = time.monotonic()
    context = prepare_sweep(plan)
    plan, config, storage = context.plan, context.config, context.storage
    demand = demand_of(config, context.threads)
    metadata = job_metadata(storage, plan.epsilon)
    with storage.lock(), cluster_session(config, demand, storage, metadata), announced(monitor) as announcer:
        require_same_settings(storage, config)
        storage.clear_progress()
        context = replace(context, mark=driver_mark(storage))
        # neither a model that does not load nor a Ray that does not start may leave a reservation
        zero_shot, read = run_on_worker_node(demand, zero_shot_score, context)
        cpus = cpus_at_once(config, context.threads)
        with ray_session(cpus, demand, metadata), opened_dashboard(storage) as ray_dashboard:
            reserved = reserve_plan(plan, storage, read)
            write_config(storage, config)
            publish(storage.url, storage.folder, storage.config_file.name)
            board = _all_trials(context, reserved, announcer, ray_dashboard, stopping)
        trials, best, score = board.rows, board.best(), None
        if best is not None and context.tune_on is not None:
            score = take_private_run(PrivateRun(plan, storage, best.values, context.mark), announcer).scores[-1]
        elif best is not None:
            run_on_worker_node(demand, publish_best, plan, storage, best)
        reserved.ledger.close(storage.name)
        if not storage.releases_trials:
            best = best and best.as_winner(plan.epsilon_after(plan.trial(best.values), best.steps))
            trials = [best] if best else []
        result = StoredSweep(
            name=config.name,
            folder=storage.folder,
            model_folder=storage.model_folder if best else None,
            trials=trials,
            best=best,
            zero_shot=zero_shot,
            private_score=score,
            seconds=time.monotonic() - started if storage.releases_trials else None,
            statement=run_statement(plan, reserved),
            front=front_of(trials, config.search.objectives[-1]) if config.search.has_front else None,
        )
        if best is not None:  # before the results, which say that the model is there
            _write_card(context, result, best)
        write_result(storage, result)
        if not storage.releases_trials:  # at once: a finished sweep is not started again
            date_released_files(storage, reserved.day())
        for folder in (storage.folder, *storage.trials_folder.glob("*")):
            remove_states(folder)
        fetch_logs(storage)
        publish(storage.url, storage.folder)
        announcer.end(result)
    return result


def _write_card(context: SweepContext, result: StoredSweep, best: TrialRow) -> None:
    storage = context.storage
    is_trial = storage.releases_trials and context.tune_on is None  # else the run's folder holds the released log
    log = (storage.trial_folder(best.number) if is_trial else storage.folder) / LOG_NAME
    write_card(storage.model_folder, context.plan.trial(best.values), result.statement, log)


def _all_trials(
    context: SweepContext,
    reserved: StandingReservation,
    announcer: Announcer,
    ray_dashboard: str | None,
    stopping: Event | None,
) -> TrialBoard:
    """Run the trials that have not ended yet, and return all."""
    config, storage, plan = context.config, context.storage, context.plan
    room = TokenRoom.of(plan, storage)
    num_trials = plan.num_trials if storage.releases_trials else reserved.num_trials()
    most_trials = num_trials if room is None else room.most_trials
    search = open_search(
        config.search,
        plan.num_trials,
        config.name,
        reserved.ledger.url,
        storage.patience_s,
        config.metric,
        room,
        earlier_trials(config, storage),
    )
    search.describe(state="running", statement=str(storage.statement_file), **_costs(plan, reserved))
    board = TrialBoard(search.ended_trials(), stopping=stopping)
    facts = replace(_facts(context, reserved, board), ray_dashboard=ray_dashboard)
    displays = (DrawnTokens(search), *_displays(context, reserved)) if storage.releases_trials else ()
    told = announcer.begin(facts, *displays)
    if storage.releases_trials:
        board.monitor = told
    missing = most_trials - len(board.rows)
    if missing > 0 and search.has_another():
        _run_trials(context, search, board, missing)
    is_last = len(board.rows) == most_trials or not search.has_another()
    have_ended = is_last and all(row.state != "running" for row in board.rows)
    search.describe(state="ended" if have_ended else "interrupted", **{TOKENS_DRAWN: reserved.steps_drawn()})
    search.close()
    if not have_ended:
        raise Stopped(f"the search was interrupted. Continue with: dpzo resume {storage.place}, or run() in Python")
    for row in board.rows if context.tune_on is None else []:  # also failed trials, and those of an earlier process
        row.steps_charged = sum(reserved.steps_drawn(holder_of(row.number, seed)) for seed in range(plan.seeds))
        row.epsilon = plan.epsilon_after(plan.trial(row.values), row.steps_charged)
    return board


def _displays(context: SweepContext, reserved: StandingReservation) -> tuple[Monitor, ...]:
    """Return what shows trials that are released to others: gauges, and files for TensorBoard."""
    plan, caps = context.plan, context.plan.token_caps()
    steps = caps[TRAIN_STEP].count if TRAIN_STEP in caps and context.tune_on is None else None
    files = TensorBoardFiles(context.storage.tensorboard_folder, plan, reserved.day())
    return SweepGauges(plan.epsilon, steps), files


def _costs(plan: Plan, reserved: StandingReservation) -> dict[str, Any]:
    """Return what Optuna's dashboard tells of a sweep's privacy: what was declared, and the budget that pays."""
    caps = {kind: cap.count for kind, cap in plan.token_caps().items()}
    return {
        "epsilon": finite_or_none(plan.epsilon),
        "delta": plan.config.privacy.delta,
        "rule": plan.rule.describe() if plan.rule else "not private",
        "caps": caps,
        "budget": reserved.budget.name,
    }


def _facts(context: SweepContext, reserved: StandingReservation, board: TrialBoard) -> WorkFacts:
    """Return what a monitor may know of the trials that begin: of a search of one winner, only its configuration."""
    config, is_secret = context.config, not context.storage.releases_trials
    count_steps = reserved.steps_drawn if context.tune_on is None else board.steps
    return WorkFacts(
        "sweep",
        config.name,
        config.metric,
        config.method.num_steps,
        seeds=config.search.seeds,
        num_trials=None if is_secret else context.plan.num_trials,
        cap_steps=None if config.search.caps is None else config.search.caps.steps,
        searched=sorted(config.search.parameters),
        ended=() if is_secret else [copy_of(row) for row in board.rows],
        count_steps=None if is_secret else count_steps,
        plan=context.plan,
        day=reserved.day(),
    )


def _run_trials(context: SweepContext, search: TruthfulSearch, board: TrialBoard, num_trials: int) -> None:
    """Run `num_trials` more trials.

    Raises:
        LedgerUnreachable: the database was away for too long; the trials that it ended can be resumed.
        LedgerCorruptError: the ledger was set back.
        ClockBehind: the clock of a machine went backwards; the trials that it ended can be resumed.
        LogUnwritable: the storage is full.
        UnfitNode: a node joined that differs from the driver's.
    """
    config, storage = context.config, context.storage
    lane = tune.with_resources(tune.with_parameters(Lane, context=context), lane_resources(config, context.threads))
    lane.__qualname__ = Lane.__name__  # on Ray's dashboard, instead of the name of Tune's own class
    tuner = tune.Tuner(
        lane,
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=make_scheduler(config.search.early_stopping, METRIC, config.score.times, score_error(config)),
            num_samples=num_trials,
            max_concurrent_trials=config.search.concurrent_trials,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:03d}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=time.strftime("tune-%Y%m%d-%H%M%S"),
            storage_path=str(storage.operator_folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_LOSSES),
            callbacks=[board],
            stop=board,
        ),
    )
    try:
        errors = tuner.fit().errors
    except (TuneError, Stopped) as error:  # the board ended the sweep
        if board.is_stopping():
            return
        raise fatal_cause(error) or error from None
    for error in errors:
        if (cause := fatal_cause(error)) is not None:
            raise cause from None
    search.fail_the_failed()
