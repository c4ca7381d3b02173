"""Snapshots of a zeroth-order run: θ and the state of its method after some step, so that a replay starts there.

A snapshot is post-processing of the release log: never needed, never a release. Its file is named by its steps and by
the digest of its content, and names the run and the releases that it was made from. A file that is torn, was changed or
belongs to another log is skipped. A kill before the file has its name leaves the earlier snapshot; a kill after that,
before older files are removed, leaves this one.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trainers.mechanism.release_log import Transcript

FORMAT = "dpzo.state.v1"
_PATTERN = "state-*.safetensors"
_DIGEST_CHARACTERS = 32  # 128 bits of SHA-256: detects damage and mix-ups, not an attacker


@dataclass(frozen=True)
class ReplayState:
    """A snapshot without its tensors.

    Args:
        steps: number of steps that θ contains.
        method: states of the method's transforms.
        scores: scores of the earlier score points; None for a point without a score.
    """

    steps: int
    method: Mapping[str, Sequence[float]]
    scores: tuple[float | None, ...]


def write_state(
    folder: Path, header: Mapping[str, Any], log: Transcript, state: ReplayState, save: Callable[..., None]
) -> None:
    """Write a snapshot, whose tensors `save` writes, then remove earlier ones; an OSError leaves these as they are."""
    from trainers.evaluators.tensor_file import PATTERN_OF_PARTS, digest_of_file, write_tensor_file

    for part in folder.glob(PATTERN_OF_PARTS):  # left by a process that was killed
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
    """Return the newest whole snapshot of these releases in a folder, and the file of its tensors; None without one."""
    paths = sorted(folder.glob(_PATTERN), reverse=True)
    if not paths:
        return None
    from safetensors import safe_open

    from trainers.evaluators.tensor_file import digest_of_file

    for path in paths:
        if digest_of_file(path)[:_DIGEST_CHARACTERS] != path.stem.rpartition("-")[2]:
            continue
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        if metadata.get("format") != FORMAT:
            continue
        steps, num_public = int(metadata["steps"]), int(metadata["num_public"])
        if metadata["releases"] == _digest_of_releases(header, log, steps, num_public):
            return ReplayState(steps, json.loads(metadata["method"]), tuple(json.loads(metadata["scores"]))), path
    return None


def remove_states(folder: Path) -> None:
    """Remove the snapshots of a finished run; its log stays."""
    for path in folder.glob(_PATTERN):
        path.unlink()


def _digest_of_releases(header: Mapping[str, Any], log: Transcript, steps: int, num_public: int) -> str:
    """Return a digest of everything that θ after `steps` steps depends on."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    releases, public = log.releases["step"][:steps], log.public_values[:num_public]
    digest.update(json.dumps([len(releases), steps, len(public), num_public, public]).encode())
    for noisy_K in releases:
        digest.update(noisy_K.tobytes())
    return digest.hexdigest()
