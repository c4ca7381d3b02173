"""Detects a model whose output is not finite, or that differs between ranks. Earlier releases are accounted for."""

import math

from trainers.evaluators.base import LossEvaluator, OutputPoint
from trainers.mechanism.release_log import Stopped
from trainers.workers.ranks import Ranks


class Diverged(Stopped):
    """The model's output on a constant public input is not finite."""


def require_finite(evaluator: LossEvaluator, name: str, steps: int, ranks: Ranks) -> None:
    """Check that the model's output at θ for a constant input is finite, on every rank. θ and the input are public.

    A loss of a private row that is not finite counts as 0 and is never reported. Without this check a run whose weights
    overflowed, or whose device computes wrongly, would continue and add up noise.

    Raises:
        Diverged: it is not, on any rank.
        Stopped: it is on some ranks only, although all have the same weights.
    """
    (output,) = evaluator.public_outputs([OutputPoint(())])
    is_finite = math.isfinite(output)
    if ranks.divergent_ranks(lambda: bytes([is_finite])):
        raise Stopped(
            f"{name}: after {steps} steps the model's output is finite on some workers only, and all have the same "
            "weights: a device computes wrongly. All releases are in the log."
        )
    if not is_finite:
        raise Diverged(
            f"{name}: after {steps} steps the model's output is not finite. Lower method.learning_rate; if similar "
            "runs do well, check the device. The steps taken stay charged."
        )
