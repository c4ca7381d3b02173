"""Runs the Triton kernel in Triton's interpreter and prints what it found, as JSON.

A program of its own: whether a kernel is interpreted is decided once, when Triton is imported.
"""

from __future__ import annotations

import json
import os

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch

from trainers.directions import apply
from trainers.directions.backends import torch_ops as apply_torch
from trainers.directions.backends import triton as apply_triton
from trainers.directions.counter import Direction, direction_values

SIZES = (1, 37, 128, 1024, 1025, 4000)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
UPDATE = [
    (Direction(7, 2, k, kind), np.float32(0.1 * (k + 1))) for k, kind in enumerate(["rademacher", "gaussian"] * 2)
]
SCALE = np.float32(-1e-2)


def written(backend, kind: str, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    master = torch.randn(size, generator=torch.Generator().manual_seed(size))
    live = torch.full((size,), float("nan"), dtype=dtype)
    backend.write_perturbed([("layer.weight", live, master)], Direction(2**40, 3, 1, kind), SCALE, UPDATE)
    return live, master


def same_as_torch(kind: str) -> bool:
    pairs = [
        (written(apply_triton, kind, size, dtype), written(apply_torch, kind, size, dtype))
        for size in SIZES
        for dtype in DTYPES
    ]
    return all(torch.equal(one, other) for ours, theirs in pairs for one, other in zip(ours, theirs, strict=True))


def same_from_bfloat16(kind: str) -> bool:
    """Whether a probe reads a bfloat16 master as torch does, and leaves it alone."""
    found = []
    for backend in (apply_triton, apply_torch):
        master = torch.randn(1025, generator=torch.Generator().manual_seed(1)).bfloat16()
        live, before = torch.full((1025,), float("nan"), dtype=torch.bfloat16), master.clone()
        backend.write_perturbed([("layer.weight", live, master)], Direction(2**40, 3, 1, kind), SCALE, ())
        found.append(live)
        assert torch.equal(master, before)
    return torch.equal(*found)


def specified(kind: str) -> bool:
    """Whether z is that of the specification, under a key whose halves fill 32 bits."""
    master, direction = torch.zeros(300), Direction(2**63, 5, 2, kind)
    apply_triton.add_directions([("embed.weight", master)], [(direction, np.float32(1))])
    return bool(np.array_equal(master.numpy(), direction_values(direction, "embed.weight", 300)))


def low_rank_vector() -> bool:
    """Whether a vector under a low-rank direction is Gaussian here too."""
    found, wanted = torch.zeros(200), torch.zeros(200)
    terms = [(Direction(1, 2, 3, "low-rank", 4), np.float32(0.5))]
    apply_triton.add_directions([("norm.weight", found)], terms)
    apply_torch.add_directions([("norm.weight", wanted)], terms)
    return torch.equal(found, wanted)


def refusal(what: str, broken) -> str:
    """Return what the proof says of a broken part."""
    sound = getattr(apply_triton, what)
    setattr(apply_triton, what, broken)
    try:
        apply_triton.verify(torch.device("cpu"))
    except RuntimeError as error:
        return str(error)
    finally:
        setattr(apply_triton, what, sound)
    return ""


def chosen_on_gpus() -> str:
    """Return the backend that tensors of a GPU are given, its proof made on the CPU."""
    verify, apply_triton.verify = apply_triton.verify, lambda device: verify(torch.device("cpu"))
    try:
        return apply._backend("cuda").__name__
    finally:
        apply_triton.verify = verify


def main() -> None:
    keys = apply_triton._keys
    apply_triton.verify(torch.device("cpu"))
    found = {f"same as torch, {kind}": same_as_torch(kind) for kind in ("rademacher", "gaussian")}
    found |= {f"specified, {kind}": specified(kind) for kind in ("rademacher", "gaussian")}
    found |= {f"bfloat16 master, {kind}": same_from_bfloat16(kind) for kind in ("rademacher", "gaussian")}
    found["low-rank vector"] = low_rank_vector()
    found["refuses other keys"] = refusal("_keys", lambda run, name: keys(run, name) ^ 1)
    found["refuses lost terms"] = refusal("_runs", lambda terms: [list(terms)[-1:]])
    found["chosen"] = chosen_on_gpus()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
