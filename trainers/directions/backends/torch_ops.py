"""Directions in plain torch operations, for tensors of any device, and as a reference for the other backends.

This repeats `counter.philox` and `gaussian.box_muller`, which torch cannot run. Words are int64, since torch lacks
unsigned arithmetic on some devices: a product of two 32-bit words overflows, but has the bits of the unsigned product.
Every floating-point operation is a torch call of its own, so none are fused. Work is done in chunks: temporaries take a
few hundred bytes per element of a chunk, for tensors of any size.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch

from trainers.directions import gaussian
from trainers.directions.counter import (
    BITS_PER_BLOCK,
    MULTIPLIERS,
    NUM_ROUNDS,
    WEYL,
    WORDS_PER_BLOCK,
    Direction,
    Float32Directions,
    Stream,
    low_rank_factors,
    low_rank_scale,
    stream,
)

CHUNK = 1 << 20  # elements, a multiple of 128
_LOW_32 = 0xFFFFFFFF


@torch.no_grad()
def write_perturbed(
    tensors: Iterable[tuple[str, torch.Tensor, torch.Tensor]],
    direction: Direction,
    scale: np.float32,
    update: Float32Directions,
) -> None:
    """Add the update to master, write live ← master + scale · z for every (name, live, master), checked by `apply`."""
    for name, live, master in tensors:
        add_directions([(name, master)], update)
        target, source = live.view(-1), master.view(-1)
        for start, stop in chunks(source.numel()):
            values = direction_chunk(direction, name, master.shape, start, stop, source.device)
            target[start:stop] = source[start:stop] + values.mul_(float(scale))


@torch.no_grad()
def add_directions(masters: Iterable[tuple[str, torch.Tensor]], terms: Float32Directions) -> None:
    """Add every coefficient · z to master for every (name, master), as checked by `apply`."""
    for name, master in masters:
        flat = master.view(-1)
        for start, stop in chunks(flat.numel()):
            for direction, coefficient in terms:
                values = direction_chunk(direction, name, master.shape, start, stop, flat.device)
                flat[start:stop] += values.mul_(float(coefficient))


def direction_chunk(
    direction: Direction, name: str, shape: Sequence[int], start: int, stop: int, device: torch.device
) -> torch.Tensor:
    """Return elements start … stop - 1 of z as float32; start is a multiple of 128."""
    if direction.is_low_rank and len(shape) > 1:
        return _low_rank_chunk(direction, name, shape, start, stop, device)
    per_block = BITS_PER_BLOCK if direction.kind == "rademacher" else WORDS_PER_BLOCK
    blocks = torch.arange(start // per_block, -(-stop // per_block), dtype=torch.int64, device=device)
    words = torch.stack(philox(blocks, stream(direction, name)), dim=-1)
    if direction.kind == "rademacher":
        bits = (words.unsqueeze(-1) >> torch.arange(32, device=device)) & 1
        values = (2 * bits - 1).float()
    else:
        pairs = words.view(-1, 2)
        values = torch.stack(_box_muller(pairs[:, 0], pairs[:, 1]), dim=-1)
    return values.view(-1)[: stop - start]


def values_at(direction: Direction, name: str, shape: Sequence[int], indices: torch.Tensor) -> torch.Tensor:
    """Return the elements of z at flat indices (int64), float32 of the same length."""
    if direction.is_low_rank and len(shape) > 1:
        return _low_rank(direction, name, shape, indices)
    if direction.kind == "rademacher":
        words = torch.stack(philox(indices // BITS_PER_BLOCK, stream(direction, name)), dim=-1)
        within = indices % BITS_PER_BLOCK
        word = words.gather(1, (within // 32).unsqueeze(1)).squeeze(1)
        return (2 * ((word >> (within % 32)) & 1) - 1).float()
    w0, w1, w2, w3 = philox(indices // WORDS_PER_BLOCK, stream(direction, name))
    first_pair = indices % WORDS_PER_BLOCK < 2
    cosine, sine = _box_muller(torch.where(first_pair, w0, w2), torch.where(first_pair, w1, w3))
    return torch.where(indices % 2 == 0, cosine, sine)


def _low_rank_chunk(
    direction: Direction, name: str, shape: Sequence[int], start: int, stop: int, device: torch.device
) -> torch.Tensor:
    """Return elements start … stop - 1 of U Vᵀ / √rank, by whole rows unless a row is longer than a chunk."""
    left, right = low_rank_tensors(direction, name, tuple(shape), device)
    columns = right.shape[0]
    if columns > CHUNK:
        return _low_rank(direction, name, shape, torch.arange(start, stop, device=device))
    first = start // columns
    rows = left[first : -(-stop // columns)]
    values = rows[:, :1] * right[:, 0]
    for r in range(1, direction.rank):
        values += rows[:, r : r + 1] * right[:, r]
    return values.mul_(float(low_rank_scale(direction))).view(-1)[start - first * columns :][: stop - start]


def _low_rank(direction: Direction, name: str, shape: Sequence[int], indices: torch.Tensor) -> torch.Tensor:
    """Return (Σ_r U_ir V_jr) / √rank at flat indices, a rounding after each product and each sum."""
    left, right = low_rank_tensors(direction, name, tuple(shape), indices.device)
    columns = right.shape[0]
    i, j = indices // columns, indices % columns
    values = left[i, 0] * right[j, 0]
    for r in range(1, direction.rank):
        values = values + left[i, r] * right[j, r]
    return values * float(low_rank_scale(direction))


@lru_cache(maxsize=64)  # chunks of one tensor, and the probes and update of one step
def low_rank_tensors(
    direction: Direction, name: str, shape: tuple[int, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return U [rows, rank] and V [columns, rank] of one tensor, float32, to be read (`counter.low_rank_factors`)."""
    left, right = low_rank_factors(direction, name, shape)
    return torch.from_numpy(left).to(device), torch.from_numpy(right).to(device)


def chunks(numel: int) -> Iterator[tuple[int, int]]:
    """Yield where chunks of a tensor start and stop."""
    for start in range(0, numel, CHUNK):
        yield start, min(start + CHUNK, numel)


def philox(blocks: torch.Tensor, key: Stream) -> tuple[torch.Tensor, ...]:
    """Hash block numbers: four int64 tensors of 32-bit words."""
    c0, c1 = blocks & _LOW_32, blocks >> 32
    c2, c3 = torch.full_like(blocks, key.upper0), torch.full_like(blocks, key.upper1)
    key0, key1 = key.key0, key.key1
    for _ in range(NUM_ROUNDS):
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _LOW_32) ^ c1 ^ key0,
            product1 & _LOW_32,
            ((product0 >> 32) & _LOW_32) ^ c3 ^ key1,
            product0 & _LOW_32,
        )
        key0, key1 = (key0 + WEYL[0]) & _LOW_32, (key1 + WEYL[1]) & _LOW_32
    return c0, c1, c2, c3


def _box_muller(word_radius: torch.Tensor, word_angle: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn int64 tensors of 32-bit words into float32 normal values."""
    bits = (word_radius.float() + 0.5).view(torch.int32)
    exponent = (bits - gaussian.SQRT_HALF_BITS) >> 23
    t = (bits - (exponent << 23)).view(torch.float32) - 1
    square = _horner(gaussian.LOG, t) * t + (exponent - 32).float() * gaussian.MINUS_2_LN_2
    # torch's float32 root on CPUs (MKL) misses the last bit in one case of 150; float64 and one rounding never do.
    r = square.double().sqrt().float()

    nearest = (word_angle + (1 << 29)) >> 30
    a = (word_angle - (nearest << 30)).float() * gaussian.RADIANS
    aa = a * a
    sine = a + (a * aa) * _horner(gaussian.SIN, aa)
    cosine = 1 + aa * _horner(gaussian.COS, aa)
    swap = (nearest & 1).bool()
    cosine, sine = torch.where(swap, sine, cosine), torch.where(swap, cosine, sine)
    cosine_sign, sine_sign = 1 - ((nearest + 1) & 2), 1 - (nearest & 2)
    return r * (cosine * cosine_sign), r * (sine * sine_sign)


def _horner(coefficients: Sequence[float], x: torch.Tensor) -> torch.Tensor:
    """Evaluate a polynomial, lowest power first, with a rounding after every product and every sum."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value
