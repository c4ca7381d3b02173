"""Inner products of public directions, exactly the same on every machine.

A direction of given length (the sphere) or a set of orthogonal ones needs its norms over ALL parameters, which a replay
elsewhere must find again to the last bit. A sum of floats depends on its order, so the products are summed as whole
numbers: 〈z, z′〉 = Σ_i trunc(z_i · z′_i · 2³⁶) / 2³⁶, where the float64 product of two float32 values is exact.
Threads, chunks, devices and the order of the tensors cannot change it; truncation costs less than 2⁻³⁵ of a norm.
Nothing of a tensor's size is made; the cost is that of drawing the directions once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from trainers.directions.backends import torch_ops as apply_torch
from trainers.directions.counter import Direction, stream

UNITS = 2.0**36
_CHUNK = 1 << 18  # elements; |z| <= 6.8, so a chunk's sum stays below 2**60


def inner_products(
    tensors: Mapping[str, torch.Tensor],
    directions: Sequence[Direction],
    kept: Mapping[str, torch.Tensor] | None = None,
) -> np.ndarray:
    """Return 〈z_i, z_j〉 over all parameters, or over those at the flat indices `kept`: float64 [K, K].

    tensors: parameter name → tensor, of which shape and device count. Low-rank directions are not taken.
    """
    num = len(directions)
    sums = [[0] * num for _ in range(num)]
    for name, tensor in tensors.items():
        for products in _chunk_products(name, tensor, directions, None if kept is None else kept[name]):
            for i in range(num):
                for j in range(i + 1):
                    sums[i][j] += int(products[i, j])
    return np.array([[sums[max(i, j)][min(i, j)] / UNITS for j in range(num)] for i in range(num)])


def _chunk_products(name: str, tensor: torch.Tensor, directions: Sequence[Direction], kept: torch.Tensor | None):
    numel = tensor.numel() if kept is None else kept.numel()
    for start in range(0, numel, _CHUNK):
        stop = min(start + _CHUNK, numel)
        if kept is None and tensor.device.type == "cpu":
            yield _on_cpu(name, directions, start, stop)
            continue
        rows = [
            apply_torch.direction_chunk(direction, name, tensor.shape, start, stop, tensor.device)
            if kept is None
            else apply_torch.values_at(direction, name, tensor.shape, kept[start:stop])
            for direction in directions
        ]
        values = torch.stack(rows).double()
        yield np.array([[int((a * b * UNITS).long().sum()) for b in values] for a in values], dtype=np.int64)


def _on_cpu(name: str, directions: Sequence[Direction], start: int, stop: int) -> np.ndarray:
    from trainers.directions.backends import cpu_kernels as kernels_cpu

    streams = np.array([stream(direction, name) for direction in directions], np.uint64)
    are_gaussian = np.array([direction.kind != "rademacher" for direction in directions])
    products = np.zeros((len(directions), len(directions)), np.int64)
    kernels_cpu.inner_products(start, stop, streams, are_gaussian, products)
    return products
