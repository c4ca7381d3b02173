"""Detects a model whose output is not finite, or that differs between ranks. Earlier releases are accounted for."""

import math
from collections.abc import Sequence

import numpy as np

from trainers.evaluators.base import Example, LossEvaluator, Probe
from trainers.mechanism.release_log import Stopped
from trainers.workers.ranks import Ranks


class Diverged(Stopped):
    """The model's outputs on constant public inputs are not finite, the same for all, or past those of any model."""


MAX_OUTPUT = 1e6
"""Largest mean logit; those of working models are below a thousand."""
MAX_LOST = 0.1
"""Largest share of losses of public examples that may be no numbers at probes; one bad kernel loses most of a pass."""


def require_alive(
    evaluator: LossEvaluator,
    name: str,
    steps: int,
    ranks: Ranks,
    public: Sequence[Example] = (),
    probes: Sequence[Probe] = (),
) -> None:
    """Check that the model answers public inputs at θ as a model does, on every rank: finite, and not all alike.

    A loss of a private row that is not finite counts as 0 and is never reported. Without this check a run whose weights
    overflowed, or whose device computes wrongly, would continue and add up noise. Where a layer divides by a norm,
    weights that overflow give the same output for every input. A kernel may also fail at probes alone: there the losses
    of public examples are read too. All of it is computed from public values, so it tells nothing of private rows.

    Args:
        evaluator, name, steps, ranks: of the run.
        public: made-up examples.
        probes: at which they are read.

    Raises:
        Diverged: it is not, on any rank.
        Stopped: it is on some ranks only, although all have the same weights.
    """
    fault = _fault(evaluator.public_answers())
    if not fault and public and probes:
        lost = 1 - float(np.isfinite(evaluator.probe(public, probes)).mean())
        fault = f"at probes is no number for {lost:.0%} of public examples" if lost > MAX_LOST else ""
    if ranks.divergent_ranks(lambda: bytes([not fault])):
        raise Stopped(
            f"{name}: after {steps} steps the model's output is usable on some workers only, and all have the same "
            "weights: a device computes wrongly. All releases are in the log."
        )
    if fault:
        raise Diverged(
            f"{name}: after {steps} steps the model's output {fault}. Lower method.learning_rate; if similar "
            "runs do well, check the device. The steps taken stay charged."
        )


def _fault(outputs: Sequence[float]) -> str:
    """Return what is wrong with a model that answers these to different inputs; nothing if it works."""
    if not all(map(math.isfinite, outputs)):
        return "is not finite"
    if max(map(abs, outputs)) > MAX_OUTPUT:
        return f"is {max(outputs, key=abs):.0e}, past that of any model"
    return "is the same for different inputs" if len(set(outputs)) == 1 else ""
