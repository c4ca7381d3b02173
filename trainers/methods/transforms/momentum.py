"""Momentum: a velocity of past updates moves θ. The evaluator keeps it, since it is as large as θ."""

from dataclasses import replace

from trainers.methods.transforms.base import Transform, stateless


def momentum(decay: float) -> Transform:
    """Return the transform that moves θ by v ← β v + (1 − β) · update, with β = `decay`."""
    return stateless("momentum", lambda update: replace(update, momentum=decay))
