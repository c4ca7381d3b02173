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


MEASURED = (
    "Where C follows the norms v of the vectors, each vector has one number more, (1 − v / C) · C / 8, kept between "
    "−C / 8 and C / 8; its other numbers are scaled so that its norm is still at most C. C depends on earlier releases "
    "alone."
)


def mechanism_of(rule: CostRule, order: Order, unit: str, *, measures_norms: bool = False) -> str:
    """Return what is clipped and which noise is added, in whole sentences."""
    vector = f"the {CLIPPED[order]}" if unit == "example" else f"the mean of the {unit}'s {CLIPPED[order]}"
    step = (
        f"Each step computes {vector} for each {unit} of the batch, clips this vector to norm C and sums the vectors."
    )
    step = f"{step} {MEASURED}" if measures_norms else step
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
