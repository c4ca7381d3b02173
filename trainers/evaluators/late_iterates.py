"""The mean of a replay's late iterates, and a scale of the way from the base weights: θ' = θ_0 + s · mean(θ_t − θ_0).

Everything here is post-processing of releases. Each operation rounds by itself, in float32, so that the bits of θ' are
the same on every machine, like those of a replay.
"""

from __future__ import annotations

import numpy as np
import torch

from trainers.evaluators.parameters import Parameters


class LateIterates:
    """Adds up θ_t − θ_0 over some iterates. It takes the memory of θ once, in float32.

    Args:
        parameters: of an evaluator that was just reset, so that θ is θ_0.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._base = parameters.theta()  # a reset's tensors, which an update copies before it changes them
        self._sum = {name: torch.zeros_like(tensor, dtype=torch.float32) for name, tensor in self._base.items()}
        self._count = 0

    @torch.inference_mode()
    def add(self) -> None:
        """Add the present θ."""
        for name, tensor in self._parameters.theta().items():
            self._sum[name].add_(tensor.float() - self._base[name].float())
        self._count += 1

    @torch.inference_mode()
    def place(self, scale: float) -> None:
        """Set θ to θ_0 + scale · mean; rounded to nearest where the master is bfloat16."""
        share = float(np.float32(scale / self._count))
        placed = {}
        for name, base in self._base.items():
            moved = self._sum[name].mul(share)
            placed[name] = moved.add_(base.float()).to(base.dtype)
        self._parameters.assign(placed)
