"""What a rule's releases are, in the words of the privacy statement."""

from __future__ import annotations

from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import EvaluationCap, StepCap, SweepCaps
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.statement.wording import WHAT_IS_CLIPPED, Order

_SCORES = {
    "count": "a count of right answers",
    "confusion_matrix": "a matrix of labels against answers (accuracy, F1, precision and recall come from one)",
    "clipped_mean_loss": "a sum of losses, each cut to [0, bound], in units of the bound",
}


def mechanism_of(rule: CostRule, order: Order, unit: str) -> str:
    """Return the releases of a rule in a sentence: what is clipped, and which noise is added."""
    clipped, noised = WHAT_IS_CLIPPED[order]
    of_whom = "each example" if unit == "example" else f"each {unit} (the mean of theirs)"
    step = f"each step: {clipped}, clipped to norm C for {of_whom} and summed"
    kinds = _kinds(rule)
    if not kinds:
        return f"{step}; noise as each trial declares it on {noised}; each release pays its own price"
    steps = list(dict.fromkeys(_noise(kind.train_step, "C") for kind in kinds))
    text = f"{step}; {' or '.join(steps)} on {noised}"
    scores = list(dict.fromkeys(_score(kind.evaluation) for kind in kinds if kind.evaluation is not None))
    return f"{text}; each score on private rows: {' or '.join(scores)}" if scores else text


def sampler_of(rule: CostRule, unit: str) -> str:
    """Return how batches are drawn."""
    rates = list(dict.fromkeys(f"{kind.train_step.sampling_prob:.6g}" for kind in _kinds(rule)))
    rate = f"with probability {' or '.join(rates)}" if rates else "at the rate that its trial declares"
    return f"Poisson: each {unit} joins each batch independently {rate}, by operating-system entropy"


def _kinds(rule: CostRule) -> tuple[SweepCaps, ...]:
    if isinstance(rule, SweepCaps):
        return (rule,)
    if isinstance(rule, BestOf):
        return (rule.trial,)
    return rule.entries if isinstance(rule, Menu) else ()


def _noise(release: StepCap | EvaluationCap, unit: str) -> str:
    sigma = f"{release.noise_multiplier:.6g}"
    scale = f"standard deviation {sigma}" if release.noise == "gaussian" else f"scale {sigma}"
    return f"{release.noise.capitalize()} noise of {scale} × {unit} (noise multiplier {sigma})"


def _score(release: EvaluationCap) -> str:
    return f"{_SCORES[release.metric]}, with {_noise(release, '1').replace(' × 1', '')}"
