"""One step of a private run: reserve, sample, probe, clip, sum, add noise, release, update.

Everything before the noise is private and dropped when used; everything after it is public. The order of the lines is
the guarantee: the token is drawn and the reservation is on disk before any rank reads a row, and the release is on disk
before its value is used. Where several ranks take the step, rank 0 alone draws tokens, adds the noise (once) and writes
the log. A rank that dies ends the step on all ranks, and nothing of it is released.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from trainers.evaluators.base import Example, LossEvaluator, Probe
from trainers.mechanism.clipping import clipped_sum
from trainers.mechanism.noise import Noise
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.release_log import Transcript
from trainers.mechanism.sampling import Sampler
from trainers.mechanism.tokens import StepTokens
from trainers.mechanism.units import Unit, choose, unit_means
from trainers.run.method import Method
from trainers.workers.ranks import Ranks


@dataclass(frozen=True)
class StepContext:
    """The parts of a step.

    `units` are this rank's examples or users; of a user a step reads at most `max_examples` examples (None: all).
    """

    plan: MechanismPlan
    method: Method
    evaluator: LossEvaluator
    units: Sequence[Unit[Example]]
    sampler: Sampler
    noise: Noise
    tokens: StepTokens
    log: Transcript
    ranks: Ranks
    max_examples: int | None = None


def take_step(context: StepContext, step: int) -> None:
    """Take step number `step`: one token, one release, one update of θ.

    Formal guarantees:
        The step adds to the log one K-vector with the law of the plan, also for an empty batch.

    Raises:
        TokensExhausted: no token is left (a token store that fails raises its own error). No data was read.
    """
    ranks, log = context.ranks, context.log
    ranks.reserve_step(lambda: _reserve(context, step))
    total_K = ranks.sum_to_rank_0(_private_sum(context, step))
    noisy_K = ranks.broadcast_release(context.plan.num_coordinates, lambda: _release(context, step, total_K))
    if not ranks.is_rank_0:  # in memory, so that the rank can rebuild its weights
        log.reserve("step", step)
        log.release("step", step, noisy_K)
    context.method.update(step, noisy_K)


def _reserve(context: StepContext, step: int) -> None:
    context.tokens.draw(step)
    context.log.reserve("step", step)


def _release(context: StepContext, step: int, total_K: np.ndarray) -> np.ndarray:
    """Add the noise to the sum over all ranks, and return it when it is on disk."""
    noisy_K = total_K + context.noise.draw(context.method.plan_at(step))
    context.log.release("step", step, noisy_K)
    return noisy_K


def _private_sum(context: StepContext, step: int) -> np.ndarray:
    """Return this rank's exact sum of the clipped differences of a fresh batch, int64 [K] in grid units. Private."""
    entropy, most = context.ranks.entropy, context.max_examples
    drawn = [choose(context.units[row], most, entropy) for row in context.sampler.draw()]
    batch = [example for unit in drawn for example in unit]
    measure = partial(_losses, context.evaluator, batch)
    losses_PB = context.ranks.gather_losses(context.method.propose(step), len(batch), measure)
    if losses_PB is None:  # the first rank of this batch has them all
        return np.zeros(context.plan.num_coordinates, dtype=np.int64)
    values_BK = context.method.values(step, losses_PB)
    return clipped_sum(unit_means(values_BK, [len(unit) for unit in drawn]), context.method.plan_at(step))


def _losses(evaluator: LossEvaluator, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
    """Return the losses of a batch, nats, float64 [P, B]. Private."""
    losses_PB = evaluator.probe(batch, probes)
    if losses_PB.shape != (len(probes), len(batch)):  # the message shows no size: that of the batch is secret
        raise RuntimeError("the evaluator must give one loss for each probe and each example; a mean is never clipped")
    return losses_PB
