"""The proof that an evaluator measures what it perturbs, before a private row is read.

Engines fail silently: packed weights that nobody reads any more, a stale cache, a perturbation below rounding. So the
first thing a run does is to probe made-up public examples and look.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainers.evaluators.base import Example, LossEvaluator, Probe


def prove(evaluator: LossEvaluator, examples: Sequence[Example], probes: Sequence[Probe]) -> None:
    """Check on public `examples` that `probes` move the losses and leave θ as it was, bit for bit.

    Raises:
        ValueError: no loss moved, or θ did.
    """
    digest = evaluator.state_digest()
    before_B = evaluator.losses(examples)
    probed_PB = evaluator.probe(examples, probes)
    if np.array_equal(probed_PB, np.broadcast_to(before_B, probed_PB.shape)):
        scales = sorted({abs(probe.scale) for probe in probes})
        raise ValueError(
            f"a perturbation of radius {', '.join(f'{scale:g}' for scale in scales)} moved no loss: it is lost in "
            "rounding, or this model does not compute with the parameters that train. Raise method.smoothing, or check "
            "model.trainable and lora.target_modules."
        )
    if evaluator.state_digest() != digest or not np.array_equal(evaluator.losses(examples), before_B):
        raise ValueError("a probe changed the parameters; this evaluator cannot be used with this model.")
