"""Squared norms of public directions, exactly the same on every machine.

A direction on the sphere needs its norm over ALL parameters, and a replay on another machine must find the same bits. A
sum of floats depends on its order, so the squares are summed as whole numbers: ‖z‖² = Σ_i trunc(z_i² · 2³⁶) / 2³⁶,
where the float64 square of a float32 value is exact. Threads, chunks, devices and the order of the tensors change
nothing; truncation costs less than 2⁻³⁵ of the norm. It costs one more drawing of each direction, but little memory.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from trainers.directions.backends import torch_ops
from trainers.directions.counter import Direction, stream

UNITS = 2.0**36
_CHUNK = 1 << 18  # elements; |z| <= 6.8, so the sum over a chunk stays below 2**60


def squared_norms(
    tensors: Mapping[str, torch.Tensor],
    directions: Sequence[Direction],
    kept: Mapping[str, torch.Tensor] | None = None,
) -> np.ndarray:
    """Return ‖z_k‖² over all parameters that z_k moves, or those at the flat indices `kept`: float64 [K].

    tensors: parameter name → tensor, of which only shape and device matter. directions: none of them low-rank.
    """
    sums = [0] * len(directions)
    for name, tensor in tensors.items():
        indices = None if kept is None else kept[name]
        for k, direction in enumerate(directions):
            if direction.moves(name):
                sums[k] += sum(_chunk_sums(direction, name, tensor, indices))
    return np.array([total / UNITS for total in sums])


def _chunk_sums(z: Direction, name: str, tensor: torch.Tensor, kept: torch.Tensor | None) -> Iterator[int]:
    numel = tensor.numel() if kept is None else kept.numel()
    for start in range(0, numel, _CHUNK):
        stop = min(start + _CHUNK, numel)
        if kept is None and tensor.device.type == "cpu":
            from trainers.directions.backends import cpu_kernels

            key = np.array(stream(z, name), np.uint64)
            yield int(cpu_kernels.squared_norm(start, stop, key, z.kind != "rademacher"))
            continue
        values = (
            torch_ops.direction_chunk(z, name, tensor.shape, start, stop, tensor.device)
            if kept is None
            else torch_ops.values_at(z, name, tensor.shape, kept[start:stop])
        ).double()
        yield int((values * values * UNITS).long().sum())
