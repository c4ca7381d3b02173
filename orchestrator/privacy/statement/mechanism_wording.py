"""What a rule's releases are, in the words of the privacy statement."""

from __future__ import annotations

from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
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
    steps = list(dict.fromkeys(_noise(kind, "C") for kind in rule.step_kinds))
    if not steps:
        return f"{step}; noise as each trial declares it on {noised}; each release pays its own price"
    text = f"{step}; {' or '.join(steps)} on {noised}"
    scores = list(dict.fromkeys(_score(kind) for kind in rule.score_kinds))
    return f"{text}; each score on private rows: {' or '.join(scores)}" if scores else text


def sampler_of(rule: CostRule, unit: str) -> str:
    """Return how batches are drawn."""
    rates = list(dict.fromkeys(f"{kind.sampling_prob:.6g}" for kind in rule.step_kinds))
    rate = f"with probability {' or '.join(rates)}" if rates else "at the rate that its trial declares"
    return f"Poisson: each {unit} joins each batch independently {rate}, by operating-system entropy"


def _noise(release: StepCap | EvaluationCap, unit: str) -> str:
    sigma = f"{release.noise_multiplier:.6g}"
    scale = f"standard deviation {sigma}" if release.noise == "gaussian" else f"scale {sigma}"
    return f"{release.noise.capitalize()} noise of {scale} × {unit} (noise multiplier {sigma})"


def _score(release: EvaluationCap) -> str:
    return f"{_SCORES[release.metric]}, with {_noise(release, '1').replace(' × 1', '')}"
