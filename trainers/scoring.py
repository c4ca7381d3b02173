"""How good θ is: accuracy on public examples, or a noisy number of right answers on private ones.

A score on private examples is a release like a step: a token of its own, a reservation on disk, exact noise, and the
noisy value on disk before anyone sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trainers.clipping import clipped_sum
from trainers.config import TaskConfig
from trainers.evaluators.base import Example, LossEvaluator
from trainers.mechanism import MechanismPlan
from trainers.noise import DiscreteGaussianNoise, Noise
from trainers.release_log import ReleaseLog
from trainers.tasks.answers import TEXT_METRICS, mean_score
from trainers.tasks.metrics import accuracy, f1
from trainers.tokens import StepTokens


def public_score(evaluator: LossEvaluator, examples: Sequence[Example], task: TaskConfig) -> float:
    """Return how good θ is on public examples by the task's metric, in [0, 1].

    Without one: accuracy where there are options or classes; for target texts the mean probability of a target token
    (geometric).
    """
    if task.metric in TEXT_METRICS:
        answers = evaluator.generate(examples, task.max_new_tokens)
        return mean_score(TEXT_METRICS[task.metric], answers, [example.references for example in examples])
    if task.target is not None:
        return float(np.exp(-evaluator.losses(examples).mean()))
    if task.metric == "f1":
        return f1(evaluator.predict(examples), examples, len(task.label_names))
    return accuracy(evaluator.predict(examples), examples)


def score_plan(noise_multiplier: float, num_examples: int, times: int) -> MechanismPlan:
    """Return the mechanism of noisy accuracy: a count of right answers, noise σ on it, divided by a public size."""
    return MechanismPlan(
        sampling_prob=1.0,
        expected_batch_size=float(num_examples),
        num_directions=1,
        num_steps=times,
        clip_norm=1.0,
        noise_multiplier=noise_multiplier,
    )


@dataclass(frozen=True)
class PrivateScore:
    """Noisy accuracy on private examples, drawn from tokens of its own.

    Formal guarantees:
        One score is the Gaussian mechanism of sensitivity 1 (add or remove one example) with the plan's multiplier.
    """

    plan: MechanismPlan
    examples: Sequence[Example]
    tokens: StepTokens
    log: ReleaseLog
    noise: Noise = field(default_factory=DiscreteGaussianNoise)

    def __call__(self, evaluator: LossEvaluator, index: int) -> float:
        """Return noisy accuracy number `index` of the run; one that is in the log is read there, not released again."""
        if index >= self.log.num_released("score"):
            self.tokens.draw(index)
            self.log.reserve("score", index)
            predicted_B = evaluator.predict(self.examples)
            right_B1 = np.array(
                [[one.is_right(int(guess))] for guess, one in zip(predicted_B, self.examples, strict=True)]
            )
            noisy_1 = clipped_sum(right_B1.reshape(-1, 1), self.plan) + self.noise.draw(self.plan)
            self.log.release("score", index, noisy_1)
        noisy = int(self.log.releases["score"][index][0])
        return noisy * self.plan.unit / self.plan.expected_batch_size
