"""A bounded sketch of the rows of a data set: their keyed MACs, all of them or a sample by prefix.

Up to 2**20 distinct rows (8 MiB) a sketch holds every MAC. Beyond that it keeps those whose first `level` bits are 0, a
share f = 2**-level of the rows; f is above 2**19 / N for N rows. Which rows these are depends on the key alone, so two
sketches of one key sample the same rows. Of m shared rows a sample sees Binomial(m, f): 300 shared rows are told with
certainty where N is at most 2**20, and missed with probability 1e-7 for N = 16 million and 0.05 for N = 64 million.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ROWS = 2**20
ACCIDENTAL_ROWS = 10  # distinct rows that two sets may share: short texts are written twice ("very good")
ACCIDENTAL_SHARE = 0.01  # of the smaller set


@dataclass(frozen=True)
class RowSketch:
    """The MACs of a sketch.

    Args:
        level: how many leading bits of each MAC are 0.
        macs: distinct, ascending, (N,) uint64.
    """

    level: int
    macs: NDArray[np.uint64]

    @classmethod
    def of(cls, macs: NDArray[np.uint64], level: int = 0, max_rows: int = MAX_ROWS) -> "RowSketch":
        """Return the sketch of the MACs of all rows, in any order; at `level` or the lowest level above that fits."""
        macs = _sampled(np.unique(macs), level)
        while len(macs) > max_rows:
            level += 1
            macs = _sampled(macs, level)
        return cls(level, macs)

    def union(self, other: "RowSketch") -> "RowSketch":
        """Return the sketch of the rows of both."""
        return RowSketch.of(np.concatenate([self.macs, other.macs]), max(self.level, other.level))

    def overlaps(self, other: "RowSketch") -> bool:
        """Return whether two sets share more distinct rows than accident explains.

        They may share 10 rows, or 1 % of the smaller set where that is more; where rows are sampled, these numbers are
        scaled by their share, and one sampled row never counts as an overlap.
        """
        level = max(self.level, other.level)
        mine, others = _sampled(self.macs, level), _sampled(other.macs, level)
        allowed = max(ACCIDENTAL_ROWS / 2**level, ACCIDENTAL_SHARE * min(len(mine), len(others)), 1)
        return len(np.intersect1d(mine, others, assume_unique=True)) > allowed


def _sampled(macs: NDArray[np.uint64], level: int) -> NDArray[np.uint64]:
    """Return the ascending MACs that begin with `level` zero bits."""
    return macs if level == 0 else macs[: np.searchsorted(macs, np.uint64(1) << np.uint64(64 - level))]
