"""The specification of stochastic rounding in numpy, with which the backends are compared."""

from __future__ import annotations

import numpy as np

from trainers.directions.counter import words
from trainers.directions.rounding import NAN, PER_BLOCK, Rounding


def rounding_bits(rounding: Rounding, name: str, numel: int) -> np.ndarray:
    """Return the 16 bits of every element of one parameter: uint32, shape (numel,)."""
    drawn = words(rounding.stream(name), 0, -(-numel // PER_BLOCK)).reshape(-1, 1)
    return ((drawn >> np.array([0, 16], np.uint32)) & np.uint32(0xFFFF)).reshape(-1)[:numel]


def rounded(values: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Return float32 values rounded by 16 bits each to values of bfloat16, still as float32; NaN stays NaN."""
    raised = (values.view(np.uint32) + bits) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(values), np.uint32(NAN << 16), raised).astype(np.uint32).view(np.float32)
