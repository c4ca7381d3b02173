"""Stochastic rounding to bfloat16: an update smaller than half a unit in the last place is kept in the mean, not lost.

A float32 value x between two bfloat16 neighbours a < b becomes b with probability (x − a) / (b − a), in steps of 2⁻¹⁶,
so that its expectation is x (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision", arXiv:1502.02551).
The random bits are a counter hash as the directions are, of (public seed, number of the update, parameter name, flat
index): a replay of a release log finds the same bits on any machine, with any evaluator, from a snapshot or the start.

Layout of one tensor in one update: element i takes half i % 2 (the lower one first) of word (i % 8) // 2 of block
i // 8. The 16 bits are added to those of the float32 below the bfloat16's last place, and what then lies there is cut.

This module is the executable specification in numpy; `kernels_rounding` compiles it, `rounding_torch` repeats it.

Formal guarantees: rounding is post-processing. It sees θ, which is made of released values, and public bits that are
drawn for nothing else; no example enters, and what a run releases and what it costs in ε do not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainers.directions.counter import Stream, rounding_stream, words

PER_BLOCK = 8  # elements
NAN = 0x7FC0


@dataclass(frozen=True)
class Rounding:
    """Which bits an update is rounded by: the run's public key, and how many updates came before."""

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
    """Return float32 values rounded by 16 bits each: what bfloat16 resolves, still as float32; NaN stays NaN."""
    raised = (values.view(np.uint32) + bits) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(values), np.uint32(NAN << 16), raised).astype(np.uint32).view(np.float32)
