"""θ: the trainable parameters, as a float32 master and the live weights that a forward pass reads.

A probe writes `master + scale · z` into the live weights, absolutely and in one pass; the master is touched by updates
alone. Nothing is ever restored by subtraction, so nothing drifts (methods.md, wrong no. 13).

Memory bounds these passes, so an update waits for the next probe and moves the master in the same pass. A replay makes
many updates and no probe: they gather, and move it many at a time. The bits are those of an update made at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch

from trainers.directions import Direction
from trainers.directions.apply import add_to_all, checked_terms, write_all

MAX_WAITING = 32  # directions; more would make one pass long, and save little more memory traffic


class Parameters:
    """The named trainable tensors of a model.

    Args:
        live: Hugging Face parameter name → the tensor that the model computes with; contiguous, floating point.
        exact: the float32 weights that `live` was rounded from, which are not copied; a copy of `live` when absent.
    """

    def __init__(self, live: Mapping[str, torch.Tensor], exact: Mapping[str, torch.Tensor] | None = None) -> None:
        self._live = dict(live)
        self._base = (
            {name: exact[name].detach() for name in live}
            if exact is not None
            else {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in live.items()}
        )
        self._master = self._base  # shared until the first update: a probe alone needs no third copy
        self._waiting: tuple[tuple[Direction, float], ...] = ()  # θ = master + Σ coefficient · z of these
        self._live_is_theta = True

    @property
    def count(self) -> int:
        """Number of trainable parameters d."""
        return sum(tensor.numel() for tensor in self._base.values())

    def perturb(self, direction: Direction, scale: float) -> None:
        """Write θ + scale · z(direction) into the live weights."""
        self._live_is_theta = False
        write_all(self._live, self._master, direction, scale, self._waiting)
        self._waiting = ()

    def settle(self) -> None:
        """Write θ into the live weights, if a probe or an update has left something else there."""
        if not self._live_is_theta:
            self._update_master()
            for name, live in self._live.items():
                live.copy_(self._master[name])
            self._live_is_theta = True

    def add(self, update: Sequence[tuple[Direction, float]]) -> None:
        """Move θ by Σ coefficient · z(direction)."""
        terms = [(direction, float(coefficient)) for direction, coefficient in checked_terms(update)]
        if self._master is self._base:
            self._master = {name: tensor.clone() for name, tensor in self._base.items()}
        self._live_is_theta = False
        if len(self._waiting) + len(terms) > MAX_WAITING:
            self._update_master()
        self._waiting = (*self._waiting, *terms)

    def reset(self) -> None:
        """Set θ back to the base weights."""
        self._master = self._base
        self._waiting = ()
        self._live_is_theta = False

    def theta(self) -> dict[str, torch.Tensor]:
        """Return name → θ in float32; to be read, and only until the next update."""
        self._update_master()
        return dict(self._master)

    def assign(self, values: Mapping[str, torch.Tensor]) -> None:
        """Set θ to float32 tensors, which are kept, not copied: whoever changes them later assigns them again."""
        assert values.keys() == self._base.keys()
        self._master, self._waiting, self._live_is_theta = dict(values), (), False

    def digest(self) -> str:
        """Return a SHA-256 over names, shapes and bits of θ."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.theta().items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().numpy().data)
        return digest.hexdigest()

    @torch.inference_mode()  # what clones the master in that mode makes tensors that only it may change
    def _update_master(self) -> None:
        add_to_all(self._master, self._waiting)
        self._waiting = ()
