"""Snapshots of a first-order run: weights, optimizer and scores, in one file.

The noisy gradients themselves are not kept (d numbers a step), so a kill loses the steps after the last snapshot. They
stay charged, and are taken again with new batches under new tokens, if the run has spare ones. A snapshot counts from
the moment that the log names it: a kill before leaves the earlier snapshot, a kill after it, before the earlier file is
removed, leaves this one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open

from trainers.evaluators.tensor_file import digest_of_file, save_tensors, write_tensor_file
from trainers.mechanism.release_log import Transcript

_PATTERN = "snapshot-*.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """The state of a run.

    Args:
        tensors: θ and the optimizer's state, by name.
        steps: number of steps that θ contains.
        scores: scores of the earlier score points; None for a point without a score.
    """

    tensors: Mapping[str, torch.Tensor]
    steps: int
    scores: tuple[float | None, ...]


def write_snapshot(folder: Path, log: Transcript, snapshot: Snapshot) -> None:
    """Write a snapshot, name it in the log, and remove earlier ones."""
    metadata = {"steps": str(snapshot.steps), "scores": json.dumps(snapshot.scores)}
    name = f"snapshot-{snapshot.steps:08d}.safetensors"
    path = write_tensor_file(partial(save_tensors, snapshot.tensors, metadata), lambda _: folder / name, folder)
    log.snapshot(digest_of_file(path))
    for old in folder.glob(_PATTERN):
        if old != path:
            old.unlink()


def read_snapshot(folder: Path, log: Transcript) -> Snapshot | None:
    """Return the last snapshot, None before the first; ValueError if none of those that the log names is here."""
    if not log.snapshots:
        return None
    files = {digest_of_file(path): path for path in folder.glob(_PATTERN)}
    known = [files[digest] for digest in log.snapshots if digest in files]
    if not known:
        raise ValueError(
            f"{folder}: {log.path.name} names snapshots, and no file here is one of them: it is gone, was changed, or "
            "belongs to another run. Restore it, or start a new run (the steps taken stay charged)."
        )
    with safe_open(known[-1], framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Snapshot(tensors, int(metadata["steps"]), tuple(json.loads(metadata["scores"])))
