"""CPU kernel of directions U Vᵀ in a public basis: one pass over the weights, whatever the rank.

A row of Σ_r U_ir V_jr is added up in a core's cache, one column of V after the other, and added to the weights at the
end. Products and sums round one by one, as in `directions/basis.py`, so the bits are those of its definition.
"""

import numpy as np

from trainers.directions.backends.cpu import CHUNK, run
from trainers.directions.backends.cpu_kernels import compiled


def write_expanded(out: np.ndarray, base: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Write out ← base + left · right for float32 out, base [m, n], left [m, r] and right [r, n]; out may be base."""
    rows, columns = base.shape
    size, step = rows * columns, max(1, CHUNK // columns) * columns
    run([(_write_rows, start, min(start + step, size), out, base, left, right) for start in range(0, size, step)])


@compiled
def _write_rows(start, stop, out, base, left, right):
    """Write the rows of elements start … stop - 1, which are whole rows."""
    rank, columns = right.shape
    total = np.empty(columns, np.float32)
    for i in range(start // columns, stop // columns):
        for j in range(columns):
            total[j] = left[i, 0] * right[0, j]
        for r in range(1, rank):
            factor = left[i, r]
            for j in range(columns):
                total[j] += factor * right[r, j]
        for j in range(columns):
            out[i, j] = total[j] + base[i, j]
