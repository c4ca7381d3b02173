"""Perturb parameters with public directions: absolutely, in one pass, and the same bits wherever it runs.

`live` is what the model computes with, `master` the weights that only updates move: float32, or bfloat16 that updates
round stochastically (`rounding`). A probe writes live ← master ± λz from scratch and nothing is ever restored by
subtraction, so half precision cannot drift. CPU tensors go to numba kernels, those of GPUs to a Triton kernel where
Triton is installed, those of other devices and low-rank directions to plain torch operations, and so do on GPUs the
updates of a bfloat16 master, one a step; all give the bits of `counter`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch

from trainers.directions.backends import torch_rounding as rounding_torch
from trainers.directions.counter import Direction, WeightedDirections
from trainers.directions.rounding import Rounding

Tensors = Mapping[str, torch.Tensor]
_FLOAT32_MAX = float(np.finfo(np.float32).max)
MASTER_DTYPES = (torch.float32, torch.bfloat16)
LIVE_DTYPES = (*MASTER_DTYPES, torch.float16)


def write_perturbed(live: torch.Tensor, master: torch.Tensor, direction: Direction, name: str, scale: float) -> None:
    """Write live ← master + scale · z for one tensor called `name`: see `write_all`."""
    write_all({name: live}, {name: master}, direction, scale)


def write_all(
    live: Tensors, master: Tensors, direction: Direction, scale: float, update: WeightedDirections = ()
) -> None:
    """Write live ← master + scale · z, element by element, in one pass and without a temporary of a tensor's size.

    live: HF name, part of z's key → contiguous float32, bfloat16 or float16, overwritten whatever it held.
    master: name → contiguous float32 of the same shape and device, or bfloat16 where there is no update; it may not be
    live itself. scale: rounded to float32. update: terms that master moves by first, in the same pass; without them it
    is only read.
    Autograd is not told: call it between forward passes.
    Raises ValueError for tensors that do not fit each other and a factor that is not finite; nothing has moved then.

    Formal guarantees: master becomes what `add_to_all(master, update)` makes of it; each element of live is
    fl(master + fl(scale · z)) in float32, never fused, then rounded to live's dtype, ties to even; the result depends
    on (master, update, direction, name, scale) only, bit for bit, not on threads or chunks.
    """
    for name, tensor in live.items():
        _check_master(master[name], name, MASTER_DTYPES[:1] if update else MASTER_DTYPES)
        _check_live(tensor, master[name], name)
    factor, terms = _float32(scale, "scale"), checked_terms(update)
    for backend, names in _by_backend(live, [direction, *(of for of, _ in terms)]).items():
        backend.write_perturbed([(name, live[name], master[name]) for name in names], direction, factor, terms)


def add_directions(master: torch.Tensor, terms: WeightedDirections, name: str) -> None:
    """Add Σ_k c_k z_k in place to one tensor called `name`: see `add_to_all`."""
    add_to_all({name: master}, terms)


def add_to_all(master: Tensors, terms: WeightedDirections) -> None:
    """Add Σ_k c_k z_k to master in place, in one pass over memory for all K terms and without a temporary of its size.

    master: HF name, part of z's key → contiguous float32. terms: (direction, coefficient) pairs; coefficients are
    rounded to float32. Autograd is not told: call it between forward passes.
    Raises ValueError for another dtype or layout and a coefficient that is not finite; nothing has moved then.

    Formal guarantees: in the order of terms each element becomes fl(element + fl(c_k · z_k)) in float32, never fused;
    the result depends on (master, terms, name) only, bit for bit, so a replay of the same terms rebuilds the weights.
    """
    for name, tensor in master.items():
        _check_master(tensor, name)
    if checked := checked_terms(terms):
        for backend, names in _by_backend(master, [direction for direction, _ in checked]).items():
            backend.add_directions([(name, master[name]) for name in names], checked)


def add_rounded(master: Tensors, terms: WeightedDirections, rounding: Rounding) -> None:
    """Add Σ_k c_k z_k to a bfloat16 master in place, rounding each element once, stochastically.

    master: HF name, part of the keys → contiguous bfloat16. terms: as for `add_to_all`. rounding: which bits.
    Raises ValueError for another dtype or layout and a coefficient that is not finite; nothing has moved then.

    Formal guarantees: each element is widened to float32, becomes what `add_to_all` makes of it, and is rounded by
    `rounding.rounded`; the result depends on (master, terms, rounding, name) only, bit for bit.
    """
    for name, tensor in master.items():
        _check_master(tensor, name, (torch.bfloat16,))
    if checked := checked_terms(terms):
        for backend, names in _by_backend(master, [direction for direction, _ in checked]).items():
            add = getattr(backend, "add_rounded", rounding_torch.add_rounded)
            add([(name, master[name]) for name in names], checked, rounding)


def checked_terms(terms: WeightedDirections) -> list[tuple[Direction, np.float32]]:
    """Round the coefficients of (direction, coefficient) pairs to float32; ValueError for one that is not finite."""
    return [(direction, _float32(coefficient, "coefficient")) for direction, coefficient in terms]


def _by_backend(tensors: Tensors, directions: Sequence[Direction]) -> dict[ModuleType, list[str]]:
    """Return which names go to which backend; those of empty tensors go to none."""
    names: dict[ModuleType, list[str]] = {}
    are_low_rank = any(direction.is_low_rank for direction in directions)  # outer products: no kernel is any faster
    for name, tensor in tensors.items():
        if tensor.numel():
            in_torch = are_low_rank and tensor.ndim > 1
            names.setdefault(_backend("torch" if in_torch else tensor.device.type), []).append(name)
    return names


@cache
def _backend(device_type: str) -> ModuleType:
    """Import late: numba is slow to load and of no use where no parameter lives on the CPU."""
    if device_type == "cpu":
        from trainers.directions.backends import cpu as backend
    elif device_type == "cuda" and find_spec("triton") is not None:
        from trainers.directions.backends import triton as backend

        backend.verify(torch.device(device_type))
    else:
        from trainers.directions.backends import torch_ops as backend
    return backend


def _check_master(master: torch.Tensor, name: str, dtypes: Sequence[torch.dtype] = MASTER_DTYPES[:1]) -> None:
    if master.dtype not in dtypes or not master.is_contiguous():
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ValueError(
            f"{name}: master must be a contiguous {wanted} tensor here, as updates are smaller than half precision "
            f"resolves; got {master.dtype} with strides {master.stride()}. Use master.float().contiguous(), or "
            "add_rounded for updates of a bfloat16 one."
        )


def _check_live(live: torch.Tensor, master: torch.Tensor, name: str) -> None:
    if live.shape != master.shape or live.device != master.device or live.dtype not in LIVE_DTYPES:
        raise ValueError(
            f"{name}: live must be float32, bfloat16 or float16 with master's shape {tuple(master.shape)} on "
            f"{master.device}; got {live.dtype} {tuple(live.shape)} on {live.device}."
        )
    if not live.is_contiguous():
        raise ValueError(f"{name}: live must be contiguous; got strides {live.stride()}. Use live.contiguous().")
    if live.numel() and live.data_ptr() == master.data_ptr():
        raise ValueError(f"{name}: live and master share memory, so the weights would be lost; clone master first.")


def _float32(value: float, what: str) -> np.float32:
    if math.isnan(value) or abs(value) > _FLOAT32_MAX:
        raise ValueError(f"{what} of a direction must be a finite float32; got {value!r}.")
    return np.float32(value)
