"""Finished trials of an earlier sweep, from whose released scores a new one learns (`search.warm_start`).

They are released already and charged to the budget of the same data, so what is chosen from them costs nothing.
"""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.config.models import SweepConfig
from orchestrator.storage.existing import find_beside
from orchestrator.storage.paths import Storage
from orchestrator.storage.trials import EARLIER
from orchestrator.sweep.samplers import distribution_of
from orchestrator.sweep.study_view import copy_of_study
from search_spaces.dependencies import can_be, is_active

_COMPARED = ("data.train", "data.validation", "score.on", "metric")


def earlier_trials(config: SweepConfig, storage: Storage) -> list[FrozenTrial]:
    """Return the complete trials of `search.warm_start` that lie in the space of a sweep, for its study.

    Raises:
        ValueError: there is no such sweep in this ledger, its trials stay secret, its scores mean something else, or
            none of its trials lies in this space.
    """
    name = config.search.warm_start
    if name is None:
        return []
    earlier = find_beside(config, name)
    if not isinstance(earlier.config, SweepConfig) or not earlier.storage.releases_trials:
        raise ValueError(f"search.warm_start: {name!r} is no sweep whose trials are released; leave it out")
    if earlier.storage.database_url != storage.database_url:
        raise ValueError(f"search.warm_start: {name!r} has another ledger, and so another study; leave it out")
    for key in _COMPARED:
        there, here = _setting(earlier.config, key), _setting(config, key)
        if there != here:
            raise ValueError(
                f"search.warm_start: {key} of {name!r} is {there!r}, here {here!r}: its scores do not compare"
            )
    stored = copy_of_study(storage.database_url, name).trials
    found = [trial for one in stored if one.state is TrialState.COMPLETE and (trial := _in_space(one, config, name))]
    if not found:
        raise ValueError(f"search.warm_start: no finished trial of {name!r} lies in this search.space; leave it out")
    return found


def _setting(config: SweepConfig, key: str) -> object:
    section, _, name = key.partition(".")
    value = getattr(config, section)
    return getattr(value, name) if name else value


def _in_space(trial: FrozenTrial, config: SweepConfig, name: str) -> FrozenTrial | None:
    """Return a trial with the values that this space asks for; None where one is missing or outside."""
    values = {}
    for key, parameter in config.search.parameters.items():
        if not is_active(parameter, values):
            continue
        if key not in trial.params or not can_be(parameter, trial.params[key]):
            return None
        values[key] = trial.params[key]
    distributions = {key: distribution_of(config.search.parameters[key]) for key in values}
    return create_trial(
        value=trial.value, params=values, distributions=distributions, user_attrs={EARLIER: f"{name}/{trial.number}"}
    )
