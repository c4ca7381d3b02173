"""Stochastic rounding (`rounding`) in plain torch operations, for tensors of any device."""

from collections.abc import Iterable

import torch

from trainers.directions.backends import torch_ops
from trainers.directions.counter import Float32Directions
from trainers.directions.rounding import NAN, PER_BLOCK, Rounding


@torch.no_grad()
def add_rounded(masters: Iterable[tuple[str, torch.Tensor]], terms: Float32Directions, rounding: Rounding) -> None:
    """Add every coefficient · z to each bfloat16 (name, master) in float32 and round once, checked by `apply`."""
    for name, master in masters:
        flat = master.view(-1)
        for start, stop in torch_ops.chunks(flat.numel()):
            values = flat[start:stop].float()
            for direction, coefficient in terms:
                z = torch_ops.direction_chunk(direction, name, master.shape, start, stop, flat.device)
                values += z.mul_(float(coefficient))
            store_chunk(flat, values, rounding, name, start)


@torch.no_grad()
def store(target: torch.Tensor, values: torch.Tensor, rounding: Rounding, name: str) -> None:
    """Write target ← values, rounded; bfloat16 and float32 of one shape, contiguous."""
    flat, source = target.view(-1), values.view(-1)
    for start, stop in torch_ops.chunks(flat.numel()):
        store_chunk(flat, source[start:stop], rounding, name, start)


def store_chunk(flat: torch.Tensor, values: torch.Tensor, rounding: Rounding, name: str, start: int) -> None:
    """Write flat[start:start + len(values)] ← values, rounded; start is a multiple of 8."""
    stop = start + values.numel()
    blocks = torch.arange(start // PER_BLOCK, -(-stop // PER_BLOCK), dtype=torch.int64, device=flat.device)
    words = torch.stack(torch_ops.philox(blocks, rounding.stream(name)), dim=-1)
    bits = (words.unsqueeze(-1) >> torch.tensor([0, 16], device=flat.device)) & 0xFFFF
    flat[start:stop] = _rounded(values, bits.view(-1)[: values.numel()])


def store_at(flat: torch.Tensor, indices: torch.Tensor, values: torch.Tensor, rounding: Rounding, name: str) -> None:
    """Write flat[indices] ← values, rounded by the bits of their places in the whole tensor."""
    words = torch.stack(torch_ops.philox(indices // PER_BLOCK, rounding.stream(name)), dim=-1)
    word = words.gather(1, (indices % PER_BLOCK // 2).unsqueeze(1)).squeeze(1)
    flat[indices] = _rounded(values, (word >> (16 * (indices % 2))) & 0xFFFF)


def _rounded(values: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Return float32 values rounded to bfloat16 by int64 bits. int32 keeps the sign bit."""
    raised = (values.view(torch.int32) + bits.to(torch.int32)) >> 16
    return torch.where(values.isnan(), NAN, raised).to(torch.int16).view(torch.bfloat16)
