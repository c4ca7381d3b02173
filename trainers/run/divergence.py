"""Why a run cannot go on, in one line each; what it released before is accounted for."""

from __future__ import annotations

import math

from trainers.evaluators.base import LossEvaluator, OutputPoint
from trainers.mechanism.release_log import Stopped
from trainers.workers.ranks import Ranks


class Diverged(Stopped):
    """The model is none any more: its answers, to an input that is no example, are no numbers."""


def require_finite(evaluator: LossEvaluator, name: str, steps: int, ranks: Ranks) -> None:
    """Check that the model at θ answers its constant input with a number, on every rank: θ and the input are public.

    Losses of private rows that are no numbers count as 0 and are never told of; without this check a run whose weights
    overflowed, or whose device computes wrongly, would go on and add up noise.

    Raises:
        Diverged: it does not, on any rank.
        Stopped: it does on some ranks, whose weights are the same.
    """
    (output,) = evaluator.public_outputs([OutputPoint(())])
    is_finite = math.isfinite(output)
    if ranks.divergent_ranks(lambda: bytes([is_finite])):
        raise Stopped(
            f"{name}: after {steps} steps the output of some workers is no number, and of others with the same weights "
            "it is: a device computes wrongly. All releases are in the log."
        )
    if not is_finite:
        raise Diverged(
            f"{name}: after {steps} steps the model's output is no number any more. Lower method.learning_rate, or if "
            "other runs like it are well look at the device. The steps taken stay charged."
        )
