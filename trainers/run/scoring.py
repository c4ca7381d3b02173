"""Scores of θ: on public examples without cost, on private examples with noise and a token. Larger is better.

A score on private examples is a release like a step: a token of its own, a reservation on disk, exact noise, and the
noisy value on disk before anyone sees it. The contribution of one unit of privacy is bounded:

| metric                  | what is summed                              | sensitivity  | the score                     |
|-------------------------|---------------------------------------------|--------------|-------------------------------|
| `accuracy`              | 1 where the answer is right                 | 1            | noisy count / declared size   |
| `f1 precision recall`   | the confusion matrix, labels² cells         | 1, L1 and L2 | ratios of noisy cells         |
| `loss`                  | the loss, cut to [0, `score.loss_bound`]    | the bound    | − noisy sum / declared size   |

One noisy confusion matrix gives accuracy, F1, precision and recall for one token. The law of the noise is that of the
steps (privacy.noise), so that a promise of pure ε covers scores too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trainers.config import RunConfig
from trainers.config.mechanism import score_plan
from trainers.config.run import CONFUSION_METRICS
from trainers.evaluators.base import Example, LossEvaluator
from trainers.mechanism.clipping import clipped_sum
from trainers.mechanism.noise import ExactNoise, Noise
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.release_log import Transcript
from trainers.mechanism.tokens import StepTokens
from trainers.mechanism.units import Unit, unit_means
from trainers.run.answers import TEXT_METRICS, mean_score
from trainers.run.metrics import confusion_cells, confusion_scores, right_answers


def public_metrics(config: RunConfig, evaluator: LossEvaluator, examples: Sequence[Example]) -> dict[str, float]:
    """Return the scores of θ on public examples by name: the configured metric, and those that come with it."""
    if config.metric in TEXT_METRICS:
        answers = evaluator.generate(examples, config.task.max_new_tokens)
        references = [example.references for example in examples]
        return {config.metric: mean_score(TEXT_METRICS[config.metric], answers, references)}
    if config.metric == "likelihood":
        return {"likelihood": float(np.exp(-evaluator.losses(examples).mean()))}
    return _metrics(config, _contributions(config, evaluator, examples).sum(axis=0), len(examples))


@dataclass(frozen=True)
class PrivateScore:
    """Noisy scores of a run on private examples, drawn from tokens of its own.

    Of a user the first `data.max_examples_per_user` examples count, in their order: the same each time.

    Formal guarantees:
        One score is one release of `score_plan(config)`: the sum over units of privacy of a vector whose norm, L1 under
        Laplace and L2 under Gaussian noise, is at most the plan's clip norm, for any losses and predictions. This is
        checked in integers. Metrics computed from the noisy sum are post-processing.
    """

    config: RunConfig
    units: Sequence[Unit[Example]]
    tokens: StepTokens
    log: Transcript
    noise: Noise = field(default_factory=ExactNoise)

    def __call__(self, evaluator: LossEvaluator, index: int) -> dict[str, float]:
        """Return the metrics of score number `index` of the run; a score that is in the log is read from it."""
        plan = score_plan(self.config)
        if index >= self.log.num_released("score"):
            self.tokens.draw(index)
            self.log.reserve("score", index)
            noisy_K = self._private_sum(evaluator, plan) + self.noise.draw(plan)
            self.log.release("score", index, noisy_K)
        sums_K = self.log.releases["score"][index] * plan.grid_unit
        return _metrics(self.config, sums_K, plan.expected_batch_size)

    def _private_sum(self, evaluator: LossEvaluator, plan: MechanismPlan) -> np.ndarray:
        """Return the exact sum over units, int64 [K] in grid units. Private."""
        counted = [unit[: self.config.data.max_examples_per_user] for unit in self.units]
        examples = [example for unit in counted for example in unit]
        values_BK = _contributions(self.config, evaluator, examples)
        return clipped_sum(unit_means(values_BK, [len(unit) for unit in counted]), plan)


def _contributions(config: RunConfig, evaluator: LossEvaluator, examples: Sequence[Example]) -> np.ndarray:
    """Return what each example adds to the score, float64 [B, K]."""
    if config.metric == "loss":
        losses_B = evaluator.losses(examples)
        bound = config.score.loss_bound
        if bound is not None:  # a loss that is not finite counts as the worst
            losses_B = np.clip(np.nan_to_num(losses_B, nan=bound, posinf=bound), 0.0, bound)
        return losses_B.reshape(-1, 1)
    predicted_B = evaluator.predict(examples)
    if config.metric in CONFUSION_METRICS:
        return confusion_cells(predicted_B, examples, len(config.task.label_names))
    return right_answers(predicted_B, examples).astype(np.float64).reshape(-1, 1)


def _metrics(config: RunConfig, sums_K: np.ndarray, size: float) -> dict[str, float]:
    """Return the metrics of sums over examples, with or without noise."""
    if config.metric == "loss":
        return {"loss": -float(sums_K[0]) / size}
    if config.metric in CONFUSION_METRICS:
        num_labels = len(config.task.label_names)
        return confusion_scores(sums_K.reshape(num_labels, num_labels), size)
    return {"accuracy": float(sums_K[0]) / size}
