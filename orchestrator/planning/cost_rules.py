"""From a configuration to the rule that counts it: what may be released, fixed before anything private is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.config.models import SweepConfig
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.laws import ScoreKind
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.renyi_filter import RenyiFilter
from orchestrator.privacy.rules.repetitions import Repetitions
from search_spaces.config import MenuEntry, SearchConfig
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan, score_plan

SCORE_KINDS: Mapping[str, ScoreKind] = {
    "accuracy": "count",
    "f1": "confusion_matrix",
    "precision": "confusion_matrix",
    "recall": "confusion_matrix",
    "loss": "clipped_mean_loss",
}

SELECTION_PREFIX = "selection"


def num_private_trials(config: RunConfig) -> int:
    """Return how many trials train on private rows: those of a sweep, or the one run."""
    if not isinstance(config, SweepConfig) or config.search.tune_on is not None:
        return 1
    return config.search.num_trials


def units_of(config: RunConfig) -> str | None:
    """Return what a record is, in words that tell two kinds apart; None for a row of the file."""
    data = config.data
    if data.user_column is not None:
        return f"users of column {data.user_column!r}"
    return None if data.shots is None else f"{SELECTION_PREFIX} of {data.shots} rows a label, key {data.shots_seed}"


def planned_sweep(config: RunConfig, noise_multiplier: float) -> PlannedSweep:
    """Return trials, steps and scores at a noise multiplier, with the rates that the mechanism will really draw."""
    mechanism = mechanism_plan(config, noise_multiplier)
    assert mechanism.noise_multiplier is not None
    fields: dict[str, Any] = {
        "num_trials": num_private_trials(config),
        "steps_per_trial": mechanism.num_steps,
        "sampling_prob": mechanism.sampling_prob,
        "noise_multiplier": mechanism.noise_multiplier,
        "spare_steps": config.privacy.spare_steps,
        "noise": mechanism.noise,
        "num_coordinates": mechanism.num_directions,
        "units": units_of(config),
    }
    if config.score.on == "private":
        score = score_plan(config)
        fields |= {
            "evaluations_per_trial": min(config.score.times, mechanism.num_steps),
            "evaluation_noise_multiplier": score.noise_multiplier,
            "spare_evaluations": config.privacy.spare_scores,
            "evaluation_metric": SCORE_KINDS[config.metric],
            "evaluation_coordinates": score.num_directions,
            "disjoint": config.data.validation_share is not None,
        }
    return PlannedSweep.model_validate(fields)


def cost_rule(config: RunConfig, noise_multipliers: Mapping[int | None, float]) -> CostRule:
    """Return the rule that a configuration is counted by.

    Args:
        config: of a run or a sweep.
        noise_multipliers: σ by number of menu entry; by None where there is no menu.
    """
    search = config.search if isinstance(config, SweepConfig) else None
    if search is None or search.tune_on is not None:
        return planned_sweep(config, noise_multipliers[None]).caps()
    if search.filter is not None:
        assert config.privacy.epsilon is not None  # SweepConfig requires it
        order = search.filter.order
        limit, delta = config.privacy.epsilon, config.privacy.delta
        return RenyiFilter(order=order, epsilon_limit=limit, delta=delta, units=units_of(config))
    if search.menu is not None:
        entries = tuple(
            one_trial(with_menu_entry(config, entry), noise_multipliers[number])
            for number, entry in enumerate(search.menu)
        )
        return Menu(entries=entries, num_trials=search.num_trials)
    if search.release == "best":
        return BestOf(trial=one_trial(config, noise_multipliers[None]), number=_secret_number(search))
    return planned_sweep(config, noise_multipliers[None]).caps()


def one_trial(config: RunConfig, noise_multiplier: float) -> SweepCaps:
    """Return all that one trial may release, its spare steps and scores included, where trials share none."""
    return planned_sweep(config, noise_multiplier).changed(num_trials=1).caps()


def with_menu_entry(config: RunConfig, entry: MenuEntry) -> RunConfig:
    """Return the configuration of a trial that takes an entry of the menu."""
    method = config.method.model_copy(update={"num_steps": entry.num_steps})
    privacy = config.privacy.model_copy(update={"expected_batch_size": entry.expected_batch_size})
    return config.model_copy(update={"method": method, "privacy": privacy})


def _secret_number(search: SearchConfig) -> Repetitions:
    law, mean = search.secret_number.law, float(search.num_trials)
    shape = search.secret_number.shape if law == "negative-binomial" else None
    return Repetitions(law=law, mean=mean, shape=shape)
