"""What a rule releases, in the words of the privacy statement."""

from collections.abc import Iterable

from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
from orchestrator.privacy.statement.wording import CLIPPED, NOISED, Order

_SCORES = {
    "count": "a count of right answers",
    "confusion_matrix": "a matrix of labels against answers (accuracy, F1, precision and recall come from one matrix)",
    "clipped_mean_loss": "a sum of losses, each clipped to [0, bound], in units of the bound",
}


def mechanism_of(rule: CostRule, order: Order, unit: str) -> str:
    """Return what is clipped and which noise is added, in whole sentences."""
    vector = f"the {CLIPPED[order]}" if unit == "example" else f"the mean of the {unit}'s {CLIPPED[order]}"
    step = (
        f"Each step computes {vector} for each {unit} of the batch, clips this vector to norm C and sums the vectors."
    )
    noises = _alternatives(_noise(kind.train_step, " × C") for kind in rule.trial_kinds)
    if not noises:
        return f"{step} It adds the noise that its trial declares to {NOISED[order]}. Each release pays its own price."
    text = f"{step} It adds {noises} to {NOISED[order]}."
    scores = _alternatives(_score(kind.evaluation) for kind in rule.trial_kinds if kind.evaluation is not None)
    return f"{text} Each score on private rows is {scores}." if scores else text


def sampler_of(rule: CostRule, unit: str) -> str:
    rates = _alternatives(f"{kind.train_step.sampling_prob:.6g}" for kind in rule.trial_kinds)
    rate = f"with probability {rates}" if rates else "at the rate that its trial declares"
    return f"Poisson: each {unit} joins each batch independently {rate}, by the operating system's entropy"


def _alternatives(words: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(words))


def _score(release: EvaluationCap) -> str:
    return f"{_SCORES[release.metric]} with {_noise(release)}"


def _noise(release: StepCap | EvaluationCap, unit: str = "") -> str:
    sigma = f"{release.noise_multiplier:.6g}"
    scale = "standard deviation" if release.noise == "gaussian" else "scale"
    return f"{release.noise.capitalize()} noise of {scale} {sigma}{unit} (noise multiplier {sigma})"
