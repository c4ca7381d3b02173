"""Stochastic rounding to bfloat16: updates smaller than half a unit in the last place survive in the mean.

A float32 value x between two bfloat16 neighbours a < b becomes b with probability (x − a) / (b − a), in steps of 2⁻¹⁶,
so that its expectation is x (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision", arXiv:1502.02551).
The random bits are a counter hash of (public seed, number of the update, parameter name, flat index). A replay of a
release log finds the same bits on any machine, with any evaluator, from a snapshot or from the start.

Layout of one tensor in one update: element i takes half i % 2 (the lower one first) of word (i % 8) // 2 of block
i // 8. The 16 bits are added to those of the float32 below the last place of the bfloat16, which are then cut off.

Formal guarantees: rounding is post-processing. It depends on θ, which is made of released values, and on public bits
that nothing else uses. No example enters, and neither the releases of a run nor its ε depend on it.
"""

from dataclasses import dataclass

from trainers.directions.counter import Stream, rounding_stream

PER_BLOCK = 8  # elements
NAN = 0x7FC0


@dataclass(frozen=True)
class Rounding:
    """The key of an update's bits: the public key of the run, and the number of earlier updates."""

    seed: int
    update: int

    def stream(self, name: str) -> Stream:
        return rounding_stream(self.seed, self.update, name)
