"""The Optuna search of a sweep, driven by Ray Tune, with the true state of every trial.

Ray's `OptunaSearch` stores a trial that a scheduler stopped as COMPLETE, leaves a trial with a NaN score RUNNING, and
does not connect an Optuna trial with its Tune trial. Samplers learn from these states and people read them in
dashboards, so they are corrected here.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from orchestrator.privacy.errors import LedgerUnreachable
from orchestrator.privacy.ledger.drawer import PATIENCE_S, retry_while_unreachable
from orchestrator.privacy.ledger.store import is_unreachable
from orchestrator.storage.trials import EARLIER, SCORES, TrialRow, row_of_study, scores_by_step
from orchestrator.sweep.monitor import SilentMonitor, WorkFacts
from orchestrator.sweep.room import TokenRoom
from orchestrator.sweep.samplers import make_sampler
from search_spaces.config import SearchConfig
from search_spaces.space import define_by_run

METRIC = "score"
TOKENS_DRAWN = "tokens_drawn"  # for steps; an attribute of the study
Answer = TypeVar("Answer")
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def open_search(
    search: SearchConfig,
    num_trials: int,
    study_name: str,
    database_url: str,
    patience_s: float = PATIENCE_S,
    metric: str = METRIC,
    room: TokenRoom | None = None,
    earlier: Sequence[FrozenTrial] = (),
) -> TruthfulSearch:
    """Return the search of a sweep over the study `study_name` in the database, created if it is new.

    Args:
        search: the sweep's settings.
        num_trials: of the sweep, about.
        study_name: the sweep's name.
        database_url: with its driver, as `Ledger.url` returns it.
        patience_s: how long to wait for a database that does not answer.
        metric: what a score is, for dashboards.
        room: whether tokens are left for one trial more; without it every trial that is asked for is suggested.
        earlier: trials of another study, from which a new one learns too.

    Raises:
        LedgerUnreachable: the database did not answer for `patience_s`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the live table shows the trials
    waits = {"timeout": 60} if make_url(database_url).get_backend_name() == "sqlite" else {"connect_timeout": 10}
    engine = {"connect_args": waits, "pool_pre_ping": True}

    def made() -> TruthfulSearch:
        opened = TruthfulSearch(
            patience_s=patience_s,
            room=room,
            earlier=earlier,
            search=search,
            space=define_by_run(search.parameters),
            metric=list(search.objectives) if search.has_front else METRIC,
            mode=["max", "min"] if search.has_front else "max",
            sampler=make_sampler(search, num_trials),
            study_name=study_name,
            storage=optuna.storages.RDBStorage(database_url, engine_kwargs=engine),
        )
        opened.name_the_metric(metric)
        return opened

    return retry_while_unreachable(partial(_answered, made), patience_s)


def _answered(ask: Callable[[], Answer]) -> Answer:
    """Return what a call on the study returns; raise LedgerUnreachable where its database does not answer."""
    try:
        return ask()
    except (StorageInternalError, DBAPIError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        if not isinstance(cause, DBAPIError) or not is_unreachable(cause):
            raise
        raise LedgerUnreachable("The study's database, which is the ledger's, does not answer.") from None


class TruthfulSearch(OptunaSearch):
    """`OptunaSearch` whose trials end as COMPLETE, PRUNED or FAIL, as they did, and carry their Tune trial's id.

    A trial's configuration gets its Optuna number under `number`: the durable name of its folder and ledger entries. A
    result with `finished` true completes the trial; the scheduler stopped a trial that ends without one. Trials that a
    killed process of the same sweep left unfinished are suggested first, with their settings. A failed trial is stored
    as FAIL only by `fail_the_failed`, because a trial that failed while the database was away must stay unfinished.

    Every method waits for a database that does not answer, and raises `LedgerUnreachable` after `patience_s`.
    """

    def __init__(
        self,
        search: SearchConfig,
        patience_s: float = PATIENCE_S,
        room: TokenRoom | None = None,
        earlier: Sequence[FrozenTrial] = (),
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._patience_s, self._room, self._search = patience_s, room, search
        self._began = time.monotonic()
        self._failed: list[str] = []
        assert self._ot_study is not None  # super().__init__ made it, because a space is given
        self._study: optuna.Study = self._ot_study
        unfinished = self._study.get_trials(states=(TrialState.RUNNING,))
        if self._study.trials:
            self._study.sampler.reseed_rng()  # a resumed search must not repeat its first draws
        else:
            self._study.add_trials(earlier)
        for settings in search.first or ():
            self._study.enqueue_trial(dict(settings), skip_if_exists=True)
        self._to_resume = [optuna.trial.Trial(self._study, trial._trial_id) for trial in unfinished]

    def name_the_metric(self, metric: str) -> None:
        """Let dashboards show the metric's name instead of "Objective 0"."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names([metric, *self._search.objectives[1:]])

    def describe(self, **attributes: Any) -> None:
        """Store attributes of the study, which dashboards show: what the sweep may cost, or its state."""
        for name, value in attributes.items():
            self._wait_for(lambda name=name, value=value: self._study.set_user_attr(name, value))

    def ended_trials(self) -> list[TrialRow]:
        """Return the trials that had ended before this process began."""
        ended = self._wait_for(lambda: self._study.get_trials(states=ENDED))
        return [row_of_study(trial) for trial in ended if EARLIER not in trial.user_attrs]

    def has_another(self) -> bool:
        """Return whether a trial is to be resumed, or a new one may begin while nothing runs."""
        return bool(self._to_resume) or (not self._is_over() and self._fits_another(0))

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's values, flat, with its number; None while the tokens left may be needed by others."""
        if trial_id not in self._ot_trials:
            num_running = len(self._ot_trials) - len(self._completed_trials)
            if self._to_resume:
                self._ot_trials[trial_id] = self._to_resume.pop(0)
            elif self._is_over():
                return self.FINISHED
            elif not self._fits_another(num_running):
                return None if num_running else self.FINISHED
        ask, attempts = super().suggest, count()

        def suggested() -> dict[str, Any] | None:
            if next(attempts) and trial_id not in self._ot_trials:
                self._adopt_lost(trial_id)
            values = ask(trial_id)
            if values is None:
                return None
            trial = self._ot_trials[trial_id]
            trial.set_user_attr("tune_trial_id", trial_id)
            return {**values, "number": trial.number}

        return self._wait_for(suggested)

    def _adopt_lost(self, trial_id: str) -> None:
        """Take the trial that an attempt made without hearing so, if there is one: the database's answer was lost."""
        known = {trial._trial_id for trial in (*self._ot_trials.values(), *self._to_resume)}
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial._trial_id not in known:
                self._ot_trials[trial_id] = optuna.trial.Trial(self._study, trial._trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an intermediate score."""
        self._wait_for(lambda: self._note(self._ot_trials[trial_id], result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study how the trial ended."""
        if trial_id in self._completed_trials:
            return
        if error:
            self._failed.append(trial_id)
        else:
            self._wait_for(lambda: self._tell(self._ot_trials[trial_id], result))
        self._completed_trials.add(trial_id)

    def fail_the_failed(self) -> None:
        """Store the trials that failed and are not started again as FAIL."""
        for trial_id in self._failed:
            self._wait_for(lambda trial=self._ot_trials[trial_id]: self._tell(trial, None))
        self._failed.clear()

    def close(self) -> None:
        """Close this process's connections to the study's database."""
        assert isinstance(self._storage, optuna.storages.RDBStorage)
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _tell(self, trial: optuna.trial.Trial, result: dict[str, Any] | None) -> None:
        """Store how a trial ended; idempotent, because an answer may be lost."""
        if self._study._storage.get_trial(trial._trial_id).state.is_finished():
            return
        if result is not None:
            self._note(trial, result)
        if result is None or not math.isfinite(result[METRIC]):
            self._study.tell(trial, state=TrialState.FAIL)
        elif result["finished"]:
            self._study.tell(trial, [result[name] for name in self._search.objectives])
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def _is_over(self) -> bool:
        """Return whether no trial may begin, because of time or of scores that rise no more."""
        limit, most = self._search.time_s, self._search.trials_without_gain
        if limit is not None and time.monotonic() - self._began >= limit:
            return True
        if most is None:
            return False
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        ended = self._wait_for(lambda: self._study.get_trials(deepcopy=False, states=states))
        own = [trial for trial in ended if EARLIER not in trial.user_attrs]
        scores = [trial.value if trial.value is not None else -math.inf for trial in own]
        return len(scores) > most and max(scores[:-most]) >= max(scores[-most:])

    def _fits_another(self, num_running: int) -> bool:
        room = self._room
        return room is None or self._wait_for(lambda: room.fits(num_running))

    def _wait_for(self, ask: Callable[[], Answer]) -> Answer:
        return retry_while_unreachable(partial(_answered, ask), self._patience_s, "The search waited")

    def _note(self, trial: optuna.trial.Trial, result: dict[str, Any]) -> None:
        """Store a score under its step, once; a resumed trial repeats its earlier scores."""
        for name in ("steps", "steps_charged", "num_steps", "forward_passes", "epsilon", "folder", "hostname"):
            if name in result:
                trial.set_user_attr(name, result[name])
        known = scores_by_step(self._study._storage.get_trial(trial._trial_id))
        is_new = result["steps"] not in known and result["training_iteration"] > len(known)
        if not math.isfinite(result[METRIC]) or not is_new:
            return
        if self._search.has_front:  # Optuna takes intermediate values of one objective only
            trial.set_user_attr(SCORES, {**known, result["steps"]: result[METRIC]})
        else:
            trial.report(result[METRIC], result["steps"])


class DrawnTokens(SilentMonitor):
    """Keeps the number of drawn tokens among the study's attributes, as of the latest scores."""

    def __init__(self, search: TruthfulSearch) -> None:
        self._search = search

    def on_start(self, facts: WorkFacts) -> None:
        """Count the trials that an earlier process ended."""
        self._drawn = {row.number: row.steps_charged for row in facts.ended}

    def on_score(self, trial: TrialRow) -> None:
        """Store the count at the next score."""
        self._drawn[trial.number] = trial.steps_charged
        self._search.describe(**{TOKENS_DRAWN: sum(self._drawn.values())})
