"""Where a zeroth-order run was at some step: θ and what its method remembers, so that a replay starts there.

The release log is the truth, and a state is post-processing of it: never needed, never a release. It is a file named by
its steps and by the digest of its content, and it says of which run and of which releases it was made; one that is
torn, was changed or belongs to another log is passed over, and the log is replayed from an earlier one or the start.

| killed                             | on restart                                              |
|------------------------------------|---------------------------------------------------------|
| before the file has its name       | the state before it; what was written is cleared away   |
| after that, before older ones go   | this state                                              |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trainers.mechanism.release_log import Transcript

FORMAT = "dpzo.state.v1"
_PATTERN = "state-*.safetensors"
_DIGEST_CHARACTERS = 32  # of SHA-256: 128 bits, against damage and mix-ups


@dataclass(frozen=True)
class ReplayState:
    """A place in a run, less the tensors, which whoever holds them writes and reads.

    Args:
        steps: that θ contains.
        method: what the method remembers of released values.
        scores: those of the score points before this place; None where a point had none.
    """

    steps: int
    method: Mapping[str, list[float]]
    scores: tuple[float | None, ...]


def write_state(
    folder: Path, header: Mapping[str, Any], log: Transcript, state: ReplayState, save: Callable[..., None]
) -> None:
    """Write a state, whose tensors `save` writes (`ParameterSpace.save`), and remove those before it.

    Raises:
        OSError: it could not be written; those before it are still there.
    """
    from trainers.evaluators.tensor_file import PATTERN_OF_PARTS, digest_of_file, write_tensor_file

    for part in folder.glob(PATTERN_OF_PARTS):  # of a process that was killed
        part.unlink()
    metadata = {
        "format": FORMAT,
        "steps": str(state.steps),
        "num_public": str(len(log.public_values)),
        "releases": _digest_of_releases(header, log, state.steps, len(log.public_values)),
        "method": json.dumps(state.method),
        "scores": json.dumps(state.scores),
    }

    def path_of(part: Path) -> Path:
        return folder / f"state-{state.steps:08d}-{digest_of_file(part)[:_DIGEST_CHARACTERS]}.safetensors"

    path = write_tensor_file(partial(save, metadata=metadata), path_of, folder)
    for old in folder.glob(_PATTERN):
        if old != path:
            old.unlink()


def read_state(folder: Path, header: Mapping[str, Any], log: Transcript) -> tuple[ReplayState, Path] | None:
    """Return the newest state in a folder that is whole and was made of these releases, and the file of its tensors.

    None if there is none.
    """
    return next(_usable(folder, header, log), None)


def remove_states(folder: Path) -> None:
    """Remove the states of a run that is done; its log stays."""
    for path in folder.glob(_PATTERN):
        path.unlink()


def _usable(folder: Path, header: Mapping[str, Any], log: Transcript) -> Iterator[tuple[ReplayState, Path]]:
    paths = sorted(folder.glob(_PATTERN), reverse=True)
    if not paths:
        return
    from safetensors import safe_open

    from trainers.evaluators.tensor_file import digest_of_file

    for path in paths:
        if digest_of_file(path)[:_DIGEST_CHARACTERS] != path.stem.rpartition("-")[2]:
            continue
        with safe_open(path, framework="pt") as file:
            said = file.metadata()
        if said.get("format") != FORMAT:
            continue
        steps, num_public = int(said["steps"]), int(said["num_public"])
        if said["releases"] == _digest_of_releases(header, log, steps, num_public):
            yield ReplayState(steps, json.loads(said["method"]), tuple(json.loads(said["scores"]))), path


def _digest_of_releases(header: Mapping[str, Any], log: Transcript, steps: int, num_public: int) -> str:
    """Return what θ after so many steps is a function of, as a digest; no log that lacks a release has it."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    releases, public = log.releases["step"][:steps], log.public_values[:num_public]
    digest.update(json.dumps([len(releases), steps, len(public), num_public, public]).encode())
    for noisy_K in releases:
        digest.update(noisy_K.tobytes())
    return digest.hexdigest()
