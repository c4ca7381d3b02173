"""Gaussian noise for whole gradients: float64 from a secret stream, not the exact integers of the zeroth-order methods.

The exact sampler takes 15–25 µs a number: minutes a step for the millions of coordinates of a gradient. Here a cipher
(ChaCha20, RFC 8439), keyed anew for each step by the operating system, gives the words, and Box and Muller's formula
the normal values: about 30 ns a coordinate. The low bits of a floating-point normal value reveal its origin (Mironov
2012). Those of four values, added and halved, do not: an attack would have to try the four at once (Holohan & Braghin,
"Secure Random Sampling in Differential Privacy", 2021, arXiv:2107.10138). There is no seed.
"""

import math
import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

SUMMANDS = 4
CHUNK = 2**16  # coordinates at a time


class GradientNoise(Protocol):
    """Adds noise to the sum of a step."""

    def add(self, total: Mapping[str, torch.Tensor], std: float) -> None:
        """Add independent noise of standard deviation `std` to every coordinate, float64, in place."""
        ...


class GaussianNoise:
    """Normal values from a stream with a new key of the operating system at each step, which is not kept.

    Formal guarantees:
        Coordinates are independent N(0, std²) up to floating point: each is the half sum of four values of Box and
        Muller's formula on 63-bit words, whose tails end at 9.4 standard deviations each (2**-64 of the mass).
    """

    def add(self, total: Mapping[str, torch.Tensor], std: float) -> None:
        if not (math.isfinite(std) and std > 0):
            raise ValueError(f"the noise needs a finite standard deviation above 0, not {std}.")
        stream = secret_stream()
        for _, tensor in sorted(total.items()):
            for part in tensor.view(-1).split(CHUNK):
                part.add_(_normal(stream, len(part)).to(part.device), alpha=std)


def secret_stream() -> Any:
    """Return a cipher, keyed by the operating system, that turns zeros into secret bytes."""
    return Cipher(algorithms.ChaCha20(os.urandom(32), os.urandom(16)), mode=None).encryptor()


def _normal(stream: Any, count: int) -> torch.Tensor:
    """Return standard normal values, float64 [count]."""
    half = -(-count // 2)
    total = torch.zeros(2 * half, dtype=torch.float64)
    for _ in range(SUMMANDS):
        words = np.frombuffer(stream.update(bytes(16 * half)), dtype=np.int64)
        first, second = torch.from_numpy(words & np.int64(2**63 - 1)).double().view(2, half)
        radius = first.add_(0.5).mul_(2.0**-63).log_().mul_(-2.0).sqrt_()  # of a uniform number in (0, 1]
        angle = second.mul_(2.0 * math.pi * 2.0**-63)
        total[:half].addcmul_(radius, angle.cos())
        total[half:].addcmul_(radius, angle.sin())
    return total.div_(math.sqrt(SUMMANDS))[:count]
