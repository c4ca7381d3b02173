"""Chooses the way of computing gradients that is right for a model, on public examples, before a private row is read.

Hooks that attribute a gradient to the wrong row would break the clip, and with it epsilon, silently: for a parameter
that is used outside a module that they know, or a table whose rows the batch shares. So the gradients of unequal
examples, computed together, are compared with the gradient of each alone.
"""

import logging
import math
from collections.abc import Sequence

import torch

from trainers.evaluators.base import Example
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.first_order.gradients import UnitGradients

LOGGER = logging.getLogger(__name__)
# of a unit's norm: 1,000 neighbours give a tenth of the clip; float32 rounds to 1e-6, bfloat16 to 1e-2
MAX_ERROR = 1e-4
SHORTEST = 1e-3  # of the longest norm: a shorter gradient may have the error of this one
FAILURES = (AttributeError, NotImplementedError, RuntimeError, TypeError)  # of hooks in layers that they do not know


def open_gradients(
    evaluator: TransformersEvaluator, examples: Sequence[Example], *, max_tokens: int, private: bool
) -> UnitGradients:
    """Return the gradients of a model: by Opacus if that is right, else one unit at a time.

    Args:
        examples: public, of unequal lengths, at least two.
        max_tokens: largest padded size of one pass.
        private: whether each unit's own gradient is needed; Opacus is not used otherwise.

    Raises:
        ValueError: Opacus is needed and not installed, or the model has no gradient.
    """
    gradients = UnitGradients(evaluator, max_tokens, by_opacus=private)
    units = [examples[:1], *([example] for example in examples), examples]  # the last one has several examples
    alone = [gradients.alone(unit) for unit in units]
    if not _norm(alone) > 0 or not math.isfinite(_norm(alone)):
        raise ValueError("model.path: the gradient of public examples is zero or not finite; this model cannot train")
    if private and not _agree(gradients, units, alone):
        LOGGER.warning("this model's gradients are computed one example at a time: Opacus does not get them right")
        gradients.by_opacus = False
    return gradients


def _agree(
    gradients: UnitGradients, units: Sequence[Sequence[Example]], alone: Sequence[dict[str, torch.Tensor]]
) -> bool:
    try:
        together = gradients.together(units)
    except FAILURES:
        return False
    norms = [_norm([of_unit]) for of_unit in alone]
    for number, (of_unit, norm) in enumerate(zip(alone, norms, strict=True)):
        error = _norm([{name: gradient[number] - of_unit[name][0] for name, gradient in together.items()}])
        if not error <= MAX_ERROR * max(norm, SHORTEST * max(norms)):
            return False
    return True


def _norm(gradients: Sequence[dict[str, torch.Tensor]]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for of_one in gradients for tensor in of_one.values()))
