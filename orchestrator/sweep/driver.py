"""A sweep: Ray Tune runs the trials on lanes, Optuna chooses them, the ledger lets them step, one epsilon covers all.

Before the first trial the rule's caps are reserved; the reported epsilon is theirs, whatever the trials use. A sweep
that was killed goes on when it is started again under its name: the study knows which trials ended, those that had not
are taken up again with their settings, and each replays its release log.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from ray import tune
from ray.tune import TuneError
from ray.tune.schedulers import ASHAScheduler

from orchestrator.budget.accounted_run import holder_of, require_ledger_knows
from orchestrator.budget.reservation import StandingReservation, reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.cluster.preflight import Demand
from orchestrator.cluster.session import (
    cluster_session,
    cpus_at_once,
    demand_of,
    ray_session,
    run_on_worker_node,
    threads_per_trial,
)
from orchestrator.config.models import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import Storage, storage_of, with_absolute_paths
from orchestrator.storage.results import SweepResult, read_result, require_same_settings, write_config, write_result
from orchestrator.sweep.board import MAX_LOSSES, TrialBoard, fatal_cause
from orchestrator.sweep.lane import Lane, lane_resources
from orchestrator.sweep.monitor import SILENT, Monitor, WorkFacts, monitored
from orchestrator.sweep.public_tuning import PublicRows, require_public
from orchestrator.sweep.rebuild import publish_best
from orchestrator.sweep.single_run import take_private_run
from orchestrator.sweep.study import METRIC, TruthfulSearch, open_search
from orchestrator.sweep.trial import SweepContext
from search_spaces.config import MENU, SearchConfig
from trainers.config.mechanism import mechanism_plan
from trainers.run.base_run import public_score
from trainers.run.replay_state import remove_states
from trainers.run.zeroth_order import require_resolution
from trainers.workspace import check_inputs, open_workspace

# what decides whether rounding matters (σ plays no part, but a mechanism must have one): which end is worse
SMALLEST = ("method.smoothing", "method.clip_norm", "method.num_directions", "privacy.noise_multiplier")
LARGEST = ("privacy.expected_batch_size",)


@dataclass(frozen=True)
class _Sweep:
    """What the parts of one sweep share."""

    plan: Plan
    config: SweepConfig
    storage: Storage
    threads: int
    tune_on: PublicRows | None

    @property
    def demand(self) -> Demand:
        """What its trials need at once."""
        return demand_of(self.config, self.threads)


def run_sweep(plan: Plan, monitor: Monitor = SILENT) -> SweepResult:
    """Run all trials of a plan and export the best model.

    Raises:
        ValueError: the inputs are unusable, the machine too small, or the name belongs to another or a finished sweep.
        BudgetExceeded: the plan does not fit its budget.
    """
    started = time.monotonic()
    sweep = _prepare(plan)
    config, storage, demand = sweep.config, sweep.storage, sweep.demand
    with storage.lock(), cluster_session(config, demand, storage):
        require_same_settings(storage, config)
        # before the reservation: a model that does not load must not leave one
        zero_shot = run_on_worker_node(demand, _zero_shot, sweep)
        reserved = reserve_plan(sweep.plan, storage)
        if sweep.tune_on is None:
            require_ledger_knows(reserved.ledger, storage)
        write_config(storage, config)
        board = _all_trials(sweep, reserved, monitor)
        best = board.best()
        score = None
        if best is not None and sweep.tune_on is not None:
            score = take_private_run(sweep.plan, best.values, storage, monitor).score
        elif best is not None:
            run_on_worker_node(demand, publish_best, sweep.plan, storage, best)
        reserved.ledger.close(storage.name)
        trials = board.rows
        if not storage.releases_trials:
            best = best and best.as_winner(sweep.plan.epsilon_after(sweep.plan.trial(best.values), best.steps))
            trials = [best] if best else []
            write_config(storage, config)  # anew: from its date on, the search would have taken what it took
        result = SweepResult(
            name=config.name,
            folder=storage.folder,
            model_folder=storage.model_folder if best else None,
            trials=trials,
            best=best,
            zero_shot=zero_shot,
            private_score=score,
            seconds=time.monotonic() - started if storage.releases_trials else None,
            statement=run_statement(sweep.plan, reserved),
        )
        write_result(storage, result)
        for folder in (storage.folder, *storage.trials_folder.glob("*")):
            remove_states(folder)
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
    tune_on = None if config.search.tune_on is None else PublicRows.count(config.search.tune_on, config.data.train)
    if tune_on is not None:
        require_public(tune_on, config, Ledger(storage.database_url).key())
        check_inputs(tune_on.replace_training_rows(config))
    return _Sweep(replace(plan, config=config), config, storage, threads, tune_on)


def _all_trials(sweep: _Sweep, reserved: StandingReservation, monitor: Monitor) -> TrialBoard:
    """Run the trials that have not ended yet, and return all."""
    config, storage = sweep.config, sweep.storage
    num_trials = config.search.num_trials if storage.releases_trials else reserved.num_trials()
    search = open_search(config.search, config.name, reserved.ledger.url, storage.patience_s)
    board = TrialBoard(search.ended_trials(), monitor if storage.releases_trials else SILENT)
    to_come = num_trials - len(board.rows)
    if to_come > 0:
        with ray_session(cpus_at_once(config, sweep.threads)), monitored(monitor, _facts(sweep, reserved, board)):
            _run_trials(sweep, search, board, to_come)
    search.close()
    for row in board.rows if sweep.tune_on is None else []:  # also failed trials, and those that an earlier process ran
        row.steps_charged = reserved.steps_drawn(holder_of(row.number))
        row.epsilon = sweep.plan.epsilon_after(sweep.plan.trial(row.values), row.steps_charged)
    return board


def _facts(sweep: _Sweep, reserved: StandingReservation, board: TrialBoard) -> WorkFacts:
    """Return what a monitor may know of the trials that begin: of a search of one winner, only its configuration."""
    config = sweep.config
    facts = WorkFacts(
        "sweep",
        config.name,
        config.metric,
        config.method.num_steps,
        num_trials=None,
        searched=sorted(config.search.parameters),
    )
    if not sweep.storage.releases_trials:
        return facts
    count_steps = reserved.steps_drawn if sweep.tune_on is None else board.steps
    return replace(facts, num_trials=config.search.num_trials, ended=board.copies(), count_steps=count_steps)


def _run_trials(sweep: _Sweep, search: TruthfulSearch, board: TrialBoard, to_come: int) -> None:
    """Run the trials that have not ended yet.

    Raises:
        LedgerUnreachable: the database was away for too long; the trials that it ended can be taken up again.
        LedgerCorruptError: the ledger was set back.
        LogUnwritable: the storage is full.
    """
    config, storage = sweep.config, sweep.storage
    performance = config.performance.model_copy(update={"num_threads": sweep.threads})
    context = SweepContext(sweep.plan, performance, storage, sweep.tune_on)
    asha = config.search.early_stopping == "asha"
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Lane, context=context), lane_resources(config, sweep.threads)),
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
            storage_path=str(storage.operator_folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_LOSSES),
            callbacks=[board],
        ),
    )
    try:
        errors = tuner.fit().errors
    except TuneError as error:  # the board ended the sweep
        raise fatal_cause(error) or error from None
    for error in errors:
        if (word := fatal_cause(error)) is not None:
            raise word from None
    search.fail_the_failed()
    if errors and board.best() is None:
        raise RuntimeError(f"no trial finished; the first one that failed said: {errors[0]}")


def _zero_shot(sweep: _Sweep) -> float | None:
    """Return how good the base model is on the public validation set, None where that set is private.

    Raises:
        ValueError: the model does not load, or a probe of the smallest radius that may be tried is lost in rounding.
    """
    config = sweep.config
    with closing(open_workspace(config, private=False)) as workspace:  # closed before lanes load models of their own
        worst = sweep.plan.trial(_worst_ends(config.search))
        require_resolution(workspace.rounding, mechanism_plan(worst, worst.privacy.noise_multiplier), worst)
        return public_score(config, workspace)


def _worst_ends(search: SearchConfig) -> dict[str, Any]:
    """Return the settings of the trial in which rounding matters most."""
    parameters = search.parameters
    worst: dict[str, Any] = {
        name: min(parameter.ends) for name, parameter in parameters.items() if name.startswith(SMALLEST)
    }
    worst |= {name: max(parameters[name].ends) for name in LARGEST if name in parameters}
    if search.menu is not None:
        sizes = [entry.expected_batch_size for entry in search.menu]
        worst[MENU] = sizes.index(max(sizes))
    return worst
