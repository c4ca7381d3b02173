"""Directions on GPUs: launches the Triton kernel, and compares it with plain torch operations before its first use.

Consecutive terms of one kind share a pass. `apply` has checked the arguments.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import Any

import numpy as np
import torch

from trainers.directions.backends import torch_ops
from trainers.directions.backends.triton_kernels import TILE, one_pass
from trainers.directions.counter import Direction, Float32Directions, stream

OPTIONS = {"enable_fp_fusion": False}  # a fused product and sum rounds once; the other backends round twice
_SLICE = 3 * TILE + 37  # elements that `verify` compares: whole tiles and a part of one
_GAUSSIAN_TOLERANCE = 1e-6  # for values of order 1, if a device rounds a square root or a product differently


@torch.no_grad()
def write_perturbed(
    tensors: Iterable[tuple[str, torch.Tensor, torch.Tensor]],
    direction: Direction,
    scale: np.float32,
    update: Float32Directions,
) -> None:
    *before, last = _runs([*update, (direction, scale)])
    listed = list(tensors)
    for run in before:
        _launch([(name, master, master) for name, _, master in listed], run, writes=False)
    _launch(listed, last, writes=True)


@torch.no_grad()
def add_directions(masters: Iterable[tuple[str, torch.Tensor]], terms: Float32Directions) -> None:
    listed = [(name, master, master) for name, master in masters]
    for run in _runs(terms):
        _launch(listed, run, writes=False)


def verify(device: torch.device) -> None:
    """Compare the kernel with plain torch on a small slice; RuntimeError if a value differs by more than rounding."""
    master = torch.linspace(-1.0, 1.0, _SLICE, device=device)
    for kind in ("rademacher", "gaussian"):
        directions = [Direction(11, 2, index, kind) for index in range(3)]
        update: Float32Directions = [(direction, np.float32(1e-3)) for direction in directions[1:]]
        (live, moved), (wanted_live, wanted_moved) = (
            _both(backend, master, directions[0], update) for backend in (write_perturbed, torch_ops.write_perturbed)
        )
        tolerance = 0.0 if kind == "rademacher" else _GAUSSIAN_TOLERANCE
        worst = max(float((live - wanted_live).abs().max()), float((moved - wanted_moved).abs().max()))
        if not worst <= tolerance:
            raise RuntimeError(
                f"the Triton kernel on {device} gives other {kind} directions than torch (by {worst:.1e}): a replay on "
                "another machine would give other weights. Install the triton version that this torch requires, or "
                "uninstall triton"
            )


def _both(
    backend: Any, master: torch.Tensor, direction: Direction, update: Float32Directions
) -> tuple[torch.Tensor, torch.Tensor]:
    live, moved = torch.zeros_like(master), master.clone()
    backend([("slice", live, moved)], direction, np.float32(0.5), update)
    return live, moved


def _runs(terms: Float32Directions) -> Iterator[list[tuple[Direction, np.float32]]]:
    for _, run in groupby(terms, key=lambda term: _is_gaussian(term[0])):
        yield list(run)


def _is_gaussian(direction: Direction) -> bool:
    return direction.kind != "rademacher"  # a vector under a low-rank direction is Gaussian


def _launch(tensors: Sequence[tuple[str, torch.Tensor, torch.Tensor]], run: Float32Directions, *, writes: bool) -> None:
    """Run one pass over every (name, live, master). The keys and factors of all go to the device at once."""
    if not tensors:
        return
    device = tensors[0][2].device
    keys = torch.from_numpy(np.array([_keys(run, name) for name, _, _ in tensors])).to(device)
    factors = torch.from_numpy(np.array([factor for _, factor in run], np.float32)).to(device)
    kernel: Any = one_pass
    with (
        torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    ):  # Triton launches on torch's current device
        for number, (_, live, master) in enumerate(tensors):
            kernel[(-(-master.numel() // TILE),)](
                live,
                master,
                keys[number],
                factors,
                master.numel(),
                len(run),
                GAUSSIAN=_is_gaussian(run[0][0]),
                WRITES=writes,
                SIZE=TILE,
                **OPTIONS,
            )


def _keys(run: Float32Directions, name: str) -> np.ndarray:
    """Return int64 [terms, 3]: the two key words as one, and the upper words of the counter."""
    streams = [stream(direction, name) for direction, _ in run]
    rows = [(key0 | key1 << 32, upper0, upper1) for key0, key1, upper0, upper1 in streams]
    return np.array(rows, np.uint64).view(np.int64)
