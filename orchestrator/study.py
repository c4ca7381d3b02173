"""The Optuna search of a sweep, as Ray Tune drives it, telling the truth about every trial.

Ray's `OptunaSearch` stores a trial that a scheduler stopped as COMPLETE, leaves one with a NaN score RUNNING, and
ties no Optuna trial to its Tune trial. Samplers learn from these states and people read them in dashboards, so they
are mended here.
"""

from __future__ import annotations

import math
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from orchestrator.board import State, TrialRow
from search_spaces.config import SearchConfig
from search_spaces.space import define_by_run

METRIC = "score"
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
}


def open_search(search: SearchConfig, study_name: str, database_url: str) -> TruthfulSearch:
    """Return the search of a sweep over the study `study_name` in the database, created if it is new."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the live table tells what its messages would
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    storage = optuna.storages.RDBStorage(database_url, engine_kwargs={"connect_args": {"timeout": 60}})
    return TruthfulSearch(
        space=define_by_run(search.parameters),
        metric=METRIC,
        mode="max",
        sampler=samplers[search.sampler](seed=search.seed),
        study_name=study_name,
        storage=storage,
    )


class TruthfulSearch(OptunaSearch):
    """`OptunaSearch` whose trials end as COMPLETE, PRUNED or FAIL, as they did, and carry their Tune trial's id.

    A trial's configuration gets its Optuna number under `number`: the durable name of its folder and ledger entries.
    A result with `finished` true is a complete one; a trial that ends without was stopped by the scheduler. Trials that
    an earlier, killed process of the same sweep left unfinished are suggested first, as they were.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        assert self._ot_study is not None  # made above, because a space is given
        self._study: optuna.Study = self._ot_study
        unfinished = self._study.get_trials(states=(TrialState.RUNNING,))
        if self._study.trials:
            self._study.sampler.reseed_rng()  # a search that goes on must not repeat its first draws
        self._to_take_up = [optuna.trial.Trial(self._study, trial._trial_id) for trial in unfinished]

    def ended_trials(self) -> list[TrialRow]:
        """Return the trials that had ended before this process began."""
        ended = self._study.get_trials(states=tuple(STATES))
        return [
            TrialRow(
                number=trial.number,
                values=trial.params,
                state=STATES[trial.state],
                steps=trial.user_attrs.get("steps", 0),
                steps_charged=trial.user_attrs.get("steps_charged", 0),
                epsilon=trial.user_attrs.get("epsilon"),
                scores=[trial.intermediate_values[step] for step in sorted(trial.intermediate_values)],
            )
            for trial in ended
        ]

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's values, flat, with its number."""
        if trial_id not in self._ot_trials and self._to_take_up:
            self._ot_trials[trial_id] = self._to_take_up.pop(0)
        values = super().suggest(trial_id)
        if values is None:
            return None
        trial = self._ot_trials[trial_id]
        trial.set_user_attr("tune_trial_id", trial_id)
        return {**values, "number": trial.number}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an intermediate score."""
        self._note(self._ot_trials[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study how the trial ended."""
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        trial = self._ot_trials[trial_id]
        if result is not None:
            self._note(trial, result)
        if error or result is None or not math.isfinite(result[METRIC]):
            self._study.tell(trial, state=TrialState.FAIL)
        elif result["finished"]:
            self._study.tell(trial, result[METRIC])
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def _note(self, trial: optuna.trial.Trial, result: dict[str, Any]) -> None:
        """Store a score under its number, once: a trial that is taken up again repeats its earlier ones."""
        for name in ("steps", "steps_charged", "epsilon"):
            trial.set_user_attr(name, result[name])
        known = self._study._storage.get_trial(trial._trial_id).intermediate_values
        if math.isfinite(result[METRIC]) and result["training_iteration"] not in known:
            trial.report(result[METRIC], result["training_iteration"])
