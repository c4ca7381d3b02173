"""Stochastic rounding to bfloat16: updates smaller than half a unit in the last place survive in the mean.

A float32 value x between two bfloat16 neighbours a < b becomes b with probability (x − a) / (b − a), in steps of 2⁻¹⁶,
so that its expectation is x (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision", arXiv:1502.02551).
The random bits are a counter hash of (public seed, number of the update, parameter name, flat index). A replay of a
release log finds the same bits on any machine, with any evaluator, from a snapshot or from the start.

Layout of one tensor in one update: element i takes half i % 2 (the lower one first) of word (i % 8) // 2 of block
i // 8. The 16 bits are added to those of the float32 below the last place of the bfloat16, which are then cut off.

This module is the executable specification in numpy. `backends.cpu_rounding` compiles it, and
`backends.torch_rounding` repeats it.

Formal guarantees: rounding is post-processing. It depends on θ, which is made of released values, and on public bits
that nothing else uses. No example enters, and neither the releases of a run nor its ε depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainers.directions.counter import Stream, rounding_stream, words

PER_BLOCK = 8  # elements
NAN = 0x7FC0


@dataclass(frozen=True)
class Rounding:
    """The key of an update's bits: the public key of the run, and the number of earlier updates."""

    seed: int
    update: int

    def stream(self, name: str) -> Stream:
        """Return the stream of one parameter."""
        return rounding_stream(self.seed, self.update, name)


def rounding_bits(rounding: Rounding, name: str, numel: int) -> np.ndarray:
    """Return the 16 bits of every element of one parameter: uint32, shape (numel,)."""
    drawn = words(rounding.stream(name), 0, -(-numel // PER_BLOCK)).reshape(-1, 1)
    return ((drawn >> np.array([0, 16], np.uint32)) & np.uint32(0xFFFF)).reshape(-1)[:numel]


def rounded(values: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Return float32 values rounded by 16 bits each to values of bfloat16, still as float32; NaN stays NaN."""
    raised = (values.view(np.uint32) + bits) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(values), np.uint32(NAN << 16), raised).astype(np.uint32).view(np.float32)
