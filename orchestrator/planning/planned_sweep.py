"""From a configuration to what its trials may release: the numbers that every rule counts with."""

from collections.abc import Mapping
from typing import Any

from orchestrator.config.models import SweepConfig
from orchestrator.privacy.rules.laws import ScoreKind
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.statement.wording import SELECTION_PREFIX
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan, rounding_share, score_plan

SCORE_KINDS: Mapping[str, ScoreKind] = {
    "accuracy": "count",
    "f1": "confusion_matrix",
    "precision": "confusion_matrix",
    "recall": "confusion_matrix",
    "loss": "clipped_mean_loss",
}


def planned_sweep(config: RunConfig, noise_multiplier: float, num_trials: int) -> PlannedSweep:
    """Return trials, steps and scores at a noise multiplier, with the rates that the mechanism will really draw."""
    mechanism = mechanism_plan(config, noise_multiplier)
    assert mechanism.noise_multiplier is not None
    seeds = config.search.seeds if isinstance(config, SweepConfig) else 1
    fields: dict[str, Any] = {
        "num_trials": num_trials,
        "steps_per_trial": seeds * mechanism.num_steps,
        "sampling_prob": mechanism.sampling_prob,
        "noise_multiplier": mechanism.noise_multiplier,
        "spare_steps": config.privacy.spare_steps,
        "noise": mechanism.noise,
        "rounding_share": rounding_share(config),
        "num_coordinates": mechanism.num_directions,
        "units": units_of(config),
    }
    if config.score.on == "private":
        score = score_plan(config)
        fields |= {
            "evaluations_per_trial": seeds * min(config.score.times, mechanism.num_steps),
            "evaluation_noise_multiplier": score.noise_multiplier,
            "spare_evaluations": config.privacy.spare_scores,
            "evaluation_metric": SCORE_KINDS[config.metric],
            "evaluation_coordinates": score.num_directions,
            "disjoint": config.data.validation_share is not None,
        }
    return PlannedSweep.model_validate(fields | _spare_tokens(config, fields))


def _spare_tokens(config: RunConfig, planned: Mapping[str, Any]) -> dict[str, int]:
    """Return the spare steps and scores with which planned trials draw exactly `search.caps`; nothing without them."""
    if not isinstance(config, SweepConfig) or config.search.caps is None:
        return {}
    tokens = config.search.caps
    of_trials = planned["num_trials"] * planned["steps_per_trial"]
    spare = {"spare_steps": tokens.steps - of_trials}
    if "evaluations_per_trial" in planned:
        times = planned["evaluations_per_trial"]
        needed = -(-tokens.steps * times // planned["steps_per_trial"]) + config.search.concurrent_trials
        scores = tokens.scores or needed  # a trial that ends short is scored where it ends
        spare["spare_evaluations"] = scores - planned["num_trials"] * times
    return spare


def units_of(config: RunConfig) -> str | None:
    """Return what a record is, in words that tell two kinds apart; None for a row of the file."""
    data = config.data
    if data.user_column is not None:
        return f"users of column {data.user_column!r}"
    return None if data.shots is None else f"{SELECTION_PREFIX} of {data.shots} rows a label, key {data.shots_seed}"
