"""Perturb parameters with public directions: absolutely, in one pass, and the same bits wherever it runs.

`live` is what the model computes with, `master` the float32 weights that only updates move. A probe writes
live ← master ± λz from scratch and nothing is ever restored by subtraction, so half precision cannot drift. CPU tensors
go to numba kernels, those of other devices to plain torch operations; both give the bits of `counter`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import numpy as np
import torch

from trainers.directions.counter import Direction

_FLOAT32_MAX = float(np.finfo(np.float32).max)
LIVE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def write_perturbed(
    live: torch.Tensor,
    master: torch.Tensor,
    direction: Direction,
    name: str,
    scale: float,
    update: Sequence[tuple[Direction, float]] = (),
) -> None:
    """Write live ← master + scale · z, element by element, in one pass and without a temporary of the tensor's size.

    live: contiguous float32, bfloat16 or float16, overwritten whatever it held. master: contiguous float32 of the same
    shape and device; it may not be live itself. name: the parameter's HF name, part of z's key. scale: rounded to
    float32. update: terms that master moves by first, in the same pass; without them it is only read.
    Autograd is not told: call it between forward passes.
    Raises ValueError for tensors that do not fit each other and a factor that is not finite; nothing has moved then.

    Formal guarantees: master is what `add_directions(master, update, name)` makes of it; each element of live is
    fl(master + fl(scale · z)) in float32, never fused, then rounded to live's dtype, ties to even; the result depends
    on (master, update, direction, name, scale) only, bit for bit, not on threads or chunks.
    """
    check_fit(live, master, name)
    factor = _float32(scale, f"{name}: scale")
    terms = checked_terms(update, name)
    if master.numel():
        _backend(master.device.type).write_perturbed(live, master, direction, name, factor, terms)


def add_directions(master: torch.Tensor, terms: Sequence[tuple[Direction, float]], name: str) -> None:
    """Add Σ_k c_k z_k to master in place, in one pass over memory for all K terms and without a temporary of its size.

    master: contiguous float32. terms: (direction, coefficient) pairs; coefficients are rounded to float32.
    name: the parameter's HF name, part of z's key. Autograd is not told: call it between forward passes.
    Raises ValueError for another dtype or layout and a coefficient that is not finite; master is then untouched.

    Formal guarantees: in the order of terms each element becomes fl(element + fl(c_k · z_k)) in float32, never fused;
    the result depends on (master, terms, name) only, bit for bit, so a replay of the same terms rebuilds the weights.
    """
    _check_master(master, name)
    checked = checked_terms(terms, name)
    if checked and master.numel():
        _backend(master.device.type).add_directions(master, checked, name)


def checked_terms(terms: Sequence[tuple[Direction, float]], name: str) -> list[tuple[Direction, np.float32]]:
    """Round the coefficients of (direction, coefficient) pairs to float32; ValueError for one that is not finite."""
    return [(direction, _float32(coefficient, f"{name}: coefficient")) for direction, coefficient in terms]


def check_fit(live: torch.Tensor, master: torch.Tensor, name: str) -> None:
    """Raise ValueError unless the two tensors are as `write_perturbed` wants them."""
    _check_master(master, name)
    if live.shape != master.shape or live.device != master.device or live.dtype not in LIVE_DTYPES:
        raise ValueError(
            f"{name}: live must be float32, bfloat16 or float16 with master's shape {tuple(master.shape)} on "
            f"{master.device}; got {live.dtype} {tuple(live.shape)} on {live.device}."
        )
    if not live.is_contiguous():
        raise ValueError(f"{name}: live must be contiguous; got strides {live.stride()}. Use live.contiguous().")
    if live.numel() and live.data_ptr() == master.data_ptr():
        raise ValueError(f"{name}: live and master share memory, so the weights would be lost; clone master first.")


@cache
def _backend(device_type: str) -> ModuleType:
    """Import late: numba is slow to load and of no use where no parameter lives on the CPU."""
    if device_type == "cpu":
        from trainers.directions import apply_cpu as backend
    else:
        from trainers.directions import apply_torch as backend
    return backend


def _check_master(master: torch.Tensor, name: str) -> None:
    if master.dtype != torch.float32 or not master.is_contiguous():
        raise ValueError(
            f"{name}: master must be a contiguous float32 tensor, as updates are smaller than half precision resolves; "
            f"got {master.dtype} with strides {master.stride()}. Use master.float().contiguous()."
        )


def _float32(value: float, what: str) -> np.float32:
    if math.isnan(value) or abs(value) > _FLOAT32_MAX:
        raise ValueError(f"{what} must be a finite float32; got {value!r}.")
    return np.float32(value)
