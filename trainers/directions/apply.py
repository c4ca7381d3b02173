"""Adds public directions to tensors: absolutely, in one pass, and with the same bits on every machine.

`live` is what the model computes with. `master` has the weights that only updates move: float32, or bfloat16 that
updates round stochastically (`rounding`). A probe writes live ← master ± λz from scratch. Nothing is restored by
subtraction, so half precision cannot drift (docs/pitfalls.md#perturbations-that-drift).

CPU tensors go to numba kernels, GPU tensors to a Triton kernel if Triton is installed. Plain torch operations serve
other devices, low-rank directions, and on GPUs the updates of a bfloat16 master. All give the bits of `counter`.
Autograd does not notice a change: call these functions between forward passes.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch

from trainers.directions.backends import torch_rounding
from trainers.directions.blocks import by_block
from trainers.directions.counter import Direction, WeightedDirections
from trainers.directions.rounding import Rounding

Tensors = Mapping[str, torch.Tensor]
_FLOAT32_MAX = float(np.finfo(np.float32).max)
MASTER_DTYPES = (torch.float32, torch.bfloat16)
LIVE_DTYPES = (*MASTER_DTYPES, torch.float16)


def write_perturbed(
    live: Tensors, master: Tensors, direction: Direction, scale: float, update: WeightedDirections = ()
) -> None:
    """Write live ← master + scale · z, element by element, in one pass and without a temporary of a tensor's size.

    Args:
        live: Hugging Face name, a part of z's key → contiguous float32, bfloat16 or float16; overwritten. Every
            direction moves all of them: of one that is local to a block, the block's.
        master: name → contiguous float32 of the same shape and device, but not `live` itself; without an update it may
            also be bfloat16.
        scale: rounded to float32.
        update: terms by which master moves first, in the same pass; without them master is only read.

    Raises:
        ValueError: tensors do not fit each other, or a factor is not finite; nothing has moved then.

    Formal guarantees:
        master becomes what `add_directions(master, update)` makes of it. Each element of live is
        fl(master + fl(scale · z)) in float32, never fused, then rounded to live's dtype, ties to even. The bits depend
        on (master, update, direction, name, scale) only, not on threads or chunks.
    """
    for name, tensor in live.items():
        _check_master(master[name], name, MASTER_DTYPES[:1] if update else MASTER_DTYPES)
        _check_live(tensor, master[name], name)
    factor, terms = _float32(scale, "scale"), checked_terms(update)
    if not all(of.moves(name) for of in (direction, *(of for of, _ in terms)) for name in live):
        raise ValueError("a direction that is local to a block writes the tensors of its block only")
    for backend, names in _by_backend(live, [direction, *(of for of, _ in terms)]).items():
        backend.write_perturbed([(name, live[name], master[name]) for name in names], direction, factor, terms)


def add_directions(master: Tensors, terms: WeightedDirections) -> None:
    """Add Σ_k c_k z_k to master in place, in one pass for all K terms and without a temporary of a tensor's size.

    Args:
        master: Hugging Face name, a part of z's key → contiguous float32.
        terms: (direction, coefficient) pairs; coefficients are rounded to float32.

    Raises:
        ValueError: another dtype or layout, or a coefficient that is not finite; nothing has moved then.

    Formal guarantees:
        In the order of terms each element becomes fl(element + fl(c_k · z_k)) in float32, never fused, for the terms
        that move its tensor. The bits depend on (master, terms, name) only, so a replay of the same terms rebuilds the
        weights.
    """
    for name, tensor in master.items():
        _check_master(tensor, name)
    for tensors, moving in by_block(master, checked_terms(terms)):
        for backend, names in _by_backend(tensors, [direction for direction, _ in moving]).items():
            backend.add_directions([(name, master[name]) for name in names], moving)


def add_rounded(master: Tensors, terms: WeightedDirections, rounding: Rounding) -> None:
    """Add Σ_k c_k z_k to a bfloat16 master in place, and round each element once, stochastically.

    Arguments and errors are those of `add_directions`, except for the type of master.

    Formal guarantees:
        Each element is widened to float32, becomes what `add_directions` makes of it, and is rounded by
        `rounding.rounded`. The bits depend on (master, terms, rounding, name) only.
    """
    for name, tensor in master.items():
        _check_master(tensor, name, (torch.bfloat16,))
    for tensors, moving in by_block(master, checked_terms(terms)):
        for backend, names in _by_backend(tensors, [direction for direction, _ in moving]).items():
            add = getattr(backend, "add_rounded", torch_rounding.add_rounded)
            add([(name, master[name]) for name in names], moving, rounding)


def checked_terms(terms: WeightedDirections) -> list[tuple[Direction, np.float32]]:
    """Round the coefficients of (direction, coefficient) pairs to float32; ValueError if one is not finite."""
    return [(direction, _float32(coefficient, "coefficient")) for direction, coefficient in terms]


def checked(terms: WeightedDirections) -> list[tuple[Direction, float]]:
    """Return the same as `checked_terms`, with the rounded coefficients as floats."""
    return [(direction, float(coefficient)) for direction, coefficient in checked_terms(terms)]


def _by_backend(tensors: Tensors, directions: Sequence[Direction]) -> dict[ModuleType, list[str]]:
    """Return backend → names of its tensors, without empty tensors."""
    if any(direction.is_in_a_basis for direction in directions):
        raise ValueError("a direction in a public basis needs that basis: see directions/basis.py")
    names: dict[ModuleType, list[str]] = {}
    are_low_rank = any(direction.is_low_rank for direction in directions)  # no kernel is faster
    for name, tensor in tensors.items():
        if tensor.numel():
            in_torch = are_low_rank and tensor.ndim > 1
            names.setdefault(_backend("torch" if in_torch else tensor.device.type), []).append(name)
    return names


@cache
def _backend(device_type: str) -> ModuleType:
    """Import a backend when it is needed: numba loads slowly."""
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
            f"{name}: master must be a contiguous {wanted} tensor here, as half precision would lose updates; got "
            f"{master.dtype} with strides {master.stride()}. Use master.float().contiguous(), or add_rounded for a "
            "bfloat16 master."
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
