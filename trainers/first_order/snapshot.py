"""The place of a first-order run on disk: weights, optimizer and scores, in one file.

The noisy gradients themselves are not kept (d numbers a step), so a kill loses the steps after the last snapshot: they
stay charged, and are taken again with new batches under new tokens, where the run has spare ones.

| killed                                     | on restart                                                            |
|--------------------------------------------|-----------------------------------------------------------------------|
| before the file has its name               | the snapshot before it                                                |
| after that, before the line is in the log  | the snapshot before it: a file that no line names is not looked at    |
| after the line, before the old one is gone | this snapshot                                                         |
"""

from __future__ import annotations

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
    """Where a run is.

    Args:
        tensors: θ and the optimizer's state, by name.
        steps: steps that θ contains.
        scores: those of the score points before this place; None where a point had none.
    """

    tensors: Mapping[str, torch.Tensor]
    steps: int
    scores: tuple[float | None, ...]


def write_snapshot(folder: Path, log: Transcript, snapshot: Snapshot) -> None:
    """Write a snapshot, name it in the log, and remove those before it; a kill leaves one that counts."""
    place = {"steps": str(snapshot.steps), "scores": json.dumps(snapshot.scores)}
    name = f"snapshot-{snapshot.steps:08d}.safetensors"
    path = write_tensor_file(partial(save_tensors, snapshot.tensors, place), lambda _: folder / name, folder)
    log.snapshot(digest_of_file(path))
    for old in folder.glob(_PATTERN):
        if old != path:
            old.unlink()


def read_snapshot(folder: Path, log: Transcript) -> Snapshot | None:
    """Return the run's last snapshot, None before the first.

    Raises:
        ValueError: the log names snapshots, and no file here is one of them.
    """
    if not log.snapshots:
        return None
    found = {digest_of_file(path): path for path in folder.glob(_PATTERN)}
    known = [found[digest] for digest in log.snapshots if digest in found]
    if not known:
        raise ValueError(
            f"{folder}: no snapshot here is one that {log.path.name} names; it is gone, was changed, or belongs to "
            "another run. Bring it back, or start a new run (the steps taken stay charged)."
        )
    with safe_open(known[-1], framework="pt") as file:
        place = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Snapshot(tensors, int(place["steps"]), tuple(json.loads(place["scores"])))
