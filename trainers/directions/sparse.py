"""Directions on a mask: only the elements at kept indices are drawn, written and moved.

A counter hash gives any element by itself, so a mask of 1 % of the parameters costs about 1 % of a pass. The elements
have the bits of the whole direction.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from trainers.directions.backends import torch_ops, torch_rounding
from trainers.directions.counter import Direction, WeightedDirections, stream
from trainers.directions.rounding import Rounding

Kept = Mapping[str, torch.Tensor]
"""Parameter name → flat indices, int64 in increasing order, on the parameter's device."""


def values_at(direction: Direction, name: str, shape: Sequence[int], indices: torch.Tensor) -> torch.Tensor:
    """Return z at flat indices, float32 of the same length."""
    if indices.device.type != "cpu" or (direction.is_low_rank and len(shape) > 1):
        return torch_ops.values_at(direction, name, shape, indices)
    from trainers.directions.backends import cpu_kernels

    out = np.empty(indices.numel(), np.float32)
    key = np.array(stream(direction, name), np.uint64)
    cpu_kernels.gather(0, out.size, indices.numpy(), key, direction.kind != "rademacher", out)
    return torch.from_numpy(out)


@torch.no_grad()
def add_kept(
    master: Mapping[str, torch.Tensor],
    kept: Kept,
    terms: WeightedDirections,
    rounding: Rounding | None = None,
) -> None:
    """Add Σ_k c_k z_k to master at the kept indices. Each product and sum rounds; `rounding` rounds to bfloat16."""
    if not terms:
        return
    for name, tensor in master.items():
        flat, indices = tensor.view(-1), kept[name]
        values = _moved(flat[indices].float(), terms, name, tensor.shape, indices)
        if rounding is None:
            flat[indices] = values
        else:
            torch_rounding.store_at(flat, indices, values, rounding, name)


@torch.no_grad()
def write_kept(
    live: Mapping[str, torch.Tensor],
    master: Mapping[str, torch.Tensor],
    kept: Kept,
    terms: WeightedDirections,
) -> None:
    """Write live ← master + Σ_k c_k z_k at the kept indices, rounded to live's dtype. Other elements stay."""
    for name, tensor in live.items():
        indices = kept[name]
        values = _moved(master[name].view(-1)[indices].float(), terms, name, tensor.shape, indices)
        tensor.view(-1)[indices] = values.to(tensor.dtype)


def _moved(
    values: torch.Tensor,
    terms: WeightedDirections,
    name: str,
    shape: Sequence[int],
    indices: torch.Tensor,
) -> torch.Tensor:
    for direction, coefficient in terms:
        if direction.moves(name):
            values = values + values_at(direction, name, shape, indices).mul_(float(np.float32(coefficient)))
    return values
