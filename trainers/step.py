"""One step of a private run: reserve, sample, probe, clip, sum, add noise, release, update.

Left of the noise everything is private and dropped when used; right of it everything is public. The order of the lines
is the guarantee: the token is drawn and the reservation is on disk before a row is read, and the release is on disk
before its value is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.clipping import clipped_sum
from trainers.evaluators.base import LossEvaluator
from trainers.groups import Group, choose, group_means
from trainers.mechanism import MechanismPlan
from trainers.methods.method import Method
from trainers.noise import Noise
from trainers.release_log import ReleaseLog
from trainers.sampling import Sampler
from trainers.tokens import StepTokens


@dataclass(frozen=True)
class StepContext:
    """The parts that a step is made of.

    `groups` are the units of privacy: groups of one example, or all examples of a user, of which a step looks at
    `max_examples` at most (None: at all).
    """

    plan: MechanismPlan
    method: Method
    evaluator: LossEvaluator
    groups: Sequence[Group]
    sampler: Sampler
    noise: Noise
    tokens: StepTokens
    log: ReleaseLog
    max_examples: int | None = None


def take_step(context: StepContext, step: int) -> None:
    """Take step number `step`: one token, one release, one update of θ.

    Formal guarantees:
        What the step adds to the log is one K-vector of `plan.step_event`, also for an empty batch.

    Raises:
        TokensExhausted, or what the token store raises: no token was left; no data was read.
    """
    context.tokens.draw(step)
    context.log.reserve("step", step)
    noisy_K = _private_sum(context, step) + context.noise.draw(context.method.plan_at(step))
    context.log.release("step", step, noisy_K)
    apply_release(context, step, noisy_K)


def apply_release(context: StepContext, step: int, noisy_K: np.ndarray) -> None:
    """Update θ from a release: post-processing, used by a step and by every replay alike."""
    context.method.update(step, noisy_K)


def _private_sum(context: StepContext, step: int) -> np.ndarray:
    """Return the exact sum of the clipped differences of a fresh batch, int64 [K] in units. Private."""
    drawn = [choose(context.groups[row], context.max_examples) for row in context.sampler.draw()]
    batch = [example for group in drawn for example in group]
    probes = context.method.propose(step)
    losses_PB = context.evaluator.probe(batch, probes)
    if losses_PB.shape != (len(probes), len(batch)):  # the sizes are not told: that of the batch is secret
        raise RuntimeError("the evaluator gave no loss for each probe and each example; a mean is never clipped")
    values_BK = context.method.values(step, losses_PB)
    return clipped_sum(group_means(values_BK, [len(group) for group in drawn]), context.method.plan_at(step))
