"""θ: the trainable parameters, as a float32 master and the live weights that a forward pass reads.

A probe writes `master + scale · z` into the live weights, absolutely and in one pass; the master is touched by updates
alone. Nothing is ever restored by subtraction, so nothing drifts (methods.md, wrong no. 13).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch

from trainers.directions import Direction
from trainers.directions.apply import add_directions, write_perturbed


class Parameters:
    """The named trainable tensors of a model.

    Args:
        live: Hugging Face parameter name → the tensor that the model computes with; contiguous, floating point.
    """

    def __init__(self, live: Mapping[str, torch.Tensor]) -> None:
        self._live = dict(live)
        self._base = {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in live.items()}
        self._master = self._base  # shared until the first update: a probe alone needs no third copy
        self._live_is_master = True

    @property
    def count(self) -> int:
        """Number of trainable parameters d."""
        return sum(tensor.numel() for tensor in self._base.values())

    def perturb(self, direction: Direction, scale: float) -> None:
        """Write θ + scale · z(direction) into the live weights."""
        self._live_is_master = False
        for name, live in self._live.items():
            write_perturbed(live, self._master[name], direction, name, scale)

    def settle(self) -> None:
        """Write θ into the live weights, if a probe or an update has left something else there."""
        if not self._live_is_master:
            for name, live in self._live.items():
                live.copy_(self._master[name])
            self._live_is_master = True

    def add(self, update: Sequence[tuple[Direction, float]]) -> None:
        """Move θ by Σ coefficient · z(direction)."""
        if self._master is self._base:
            self._master = {name: tensor.clone() for name, tensor in self._base.items()}
        self._live_is_master = False
        for name, master in self._master.items():
            add_directions(master, update, name)

    def reset(self) -> None:
        """Set θ back to the base weights."""
        self._master = self._base
        self._live_is_master = False

    def digest(self) -> str:
        """Return a SHA-256 over names, shapes and bits of θ."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._master.items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().numpy().data)
        return digest.hexdigest()
