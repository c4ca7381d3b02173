"""Per-example clipping onto the integer grid, and the exact sum.

The norm is L2 if the plan's noise is Gaussian, L1 if it is Laplace. A row belongs to one unit of privacy: an example,
or a user's mean over its examples (units.py). Why a row, a vector and integers:
docs/pitfalls.md#one-clip-for-the-whole-batch, docs/pitfalls.md#several-directions-accounted-as-one and
docs/pitfalls.md#rounding-at-the-edge-of-the-clip.

| input of a unit                    | its contribution                                  |
|------------------------------------|---------------------------------------------------|
| coordinate NaN, +inf or −inf       | that coordinate counts as 0                       |
| norm at most C                     | itself, truncated towards zero on the grid        |
| norm above C, however large        | its direction at norm C, truncated towards zero   |
| empty batch                        | the sum is 0 in every coordinate                  |
| no clip (a run without privacy)    | rounded to the grid, saturated at ±2**18          |

Where the plan measures norms, a unit's row has one coordinate more: 1 − ‖v‖/C between −1 and 1, in steps of 2**-27. It
is positive where the clip is too wide for the unit, negative where it cuts. Andrew et al. (2021), arXiv:1905.03871,
release a bit there, ‖v‖ ≤ C. The ramp has no jump: where the other examples of a batch change the last digits of a loss
(docs/proofs/rounding.md), a bit could flip, while this row moves no further than its vector (docs/noise.md).
"""

import numpy as np

from trainers.mechanism.plan import NORM_UNITS, MechanismPlan, NoiseLaw

_SATURATION = 2**48  # grid units of a coordinate without a clip: 2**14 examples cannot overflow int64
_SHRINK = 1.0 - 2.0**-40
_MOST_REPAIRS = 16  # each takes a grid unit from every coordinate; roundings of float64 need one


def clip_to_grid(values_BK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
    """Clip each row of `values_BK` (float64 [B, K]) to norm C; return its release, int64 [B, `num_coordinates`].

    Formal guarantees:
        For every input, the squares of a returned row sum to at most (2**30)**2 under Gaussian noise, and its absolute
        values to at most 2**30 under Laplace noise. This is checked in integers. A row depends on its input row and
        the plan alone.

    Raises:
        RuntimeError: the floating-point clip is off by more than rounding. No input does that: the code is wrong.
    """
    finite_BK = np.where(np.isfinite(values_BK), values_BK, 0.0).astype(np.float64)
    if plan.clip_norm is None:
        bound = _SATURATION * plan.grid_unit
        return np.rint(np.clip(finite_BK, -bound, bound) / plan.grid_unit).astype(np.int64)
    scaled_BK = _clip_rows(finite_BK, plan.clip_norm, plan.noise)
    units_BK = np.trunc(scaled_BK * plan.vector_units).astype(np.int64)
    for _ in range(_MOST_REPAIRS):
        if not (outside_B := _outside(units_BK, plan)).any():
            return np.hstack([units_BK, _norm_units(finite_BK, plan.clip_norm)]) if plan.has_norm else units_BK
        units_BK[outside_B] = np.trunc(units_BK[outside_B] * _SHRINK).astype(np.int64)  # a rounding above the bound
    raise RuntimeError("a clipped example lies outside the clip: the clip is wrong, and nothing may be released.")


def clipped_sum(values_BK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
    """Return the exact sum over examples of the clipped rows, int64 [`num_coordinates`] in grid units."""
    if values_BK.ndim != 2 or values_BK.shape[1] != plan.num_directions:
        raise ValueError(
            f"differences of shape [B, {plan.num_directions}] are expected, a row for each example. Clipping is per "
            "example, never of a batch mean."
        )
    return clip_to_grid(values_BK, plan).sum(axis=0, dtype=np.int64)


def _clip_rows(values_BK: np.ndarray, clip_norm: float, noise: NoiseLaw) -> np.ndarray:
    """Scale rows into the unit ball (in multiples of C), without overflow for huge values."""
    largest_B1 = np.abs(values_BK).max(axis=1, keepdims=True, initial=0.0)
    safe_B1 = np.where(largest_B1 > 0, largest_B1, 1.0)
    shape_BK = values_BK / safe_B1  # coordinates in [−1, 1]
    if noise == "laplace":
        length_B1 = np.abs(shape_BK).sum(axis=1, keepdims=True)
    else:
        length_B1 = np.sqrt((shape_BK**2).sum(axis=1, keepdims=True))
    safe_length_B1 = np.where(length_B1 > 0, length_B1, 1.0)
    # norm = largest · length; compare without forming a product that could overflow
    inside_B1 = largest_B1 <= clip_norm / safe_length_B1
    return np.where(
        inside_B1, np.minimum(np.maximum(values_BK, -clip_norm), clip_norm) / clip_norm, shape_BK / safe_length_B1
    )


def _norm_units(finite_BK: np.ndarray, clip_norm: float) -> np.ndarray:
    """Return 1 − ‖v‖/C of each row, between −1 and 1, in units of 1 / `NORM_UNITS`, int64 [B, 1]."""
    largest_B1 = np.abs(finite_BK).max(axis=1, keepdims=True, initial=0.0)
    shape_BK = finite_BK / np.where(largest_B1 > 0, largest_B1, 1.0)
    with np.errstate(over="ignore"):  # a norm of inf is far above any clip
        norms_B1 = largest_B1 * np.sqrt((shape_BK**2).sum(axis=1, keepdims=True)) / clip_norm
    return np.trunc(np.clip(1.0 - norms_B1, -1.0, 1.0) * NORM_UNITS).astype(np.int64)


def _outside(units_BK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
    """Return which rows exceed the bound: in floats if they are far out and would overflow, else exactly in int64."""
    sizes_BK, bound = np.abs(units_BK), plan.vector_units
    if plan.noise == "gaussian":
        far_B = (sizes_BK.astype(np.float64) ** 2).sum(axis=1) > 2.0 * bound**2
        sizes_BK, bound = np.where(far_B[:, None], 0, sizes_BK) ** 2, bound**2
    else:
        far_B = sizes_BK.astype(np.float64).sum(axis=1) > 2.0 * bound
        sizes_BK = np.where(far_B[:, None], 0, sizes_BK)
    return far_B | (sizes_BK.sum(axis=1, dtype=np.int64) > bound)
