"""Tensors in one file that is there whole or not at all, and the digest of a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainers.release_log import fsync_folder

PATTERN_OF_PARTS = ".*.part"
_READ_BYTES = 2**20


def write_tensors(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], path_of: Callable[[Path], Path], folder: Path
) -> Path:
    """Write tensors durably under the name that `path_of` gives the finished file, and return it.

    Args:
        tensors: by name.
        metadata: text to keep with them.
        path_of: called with the file while it has another name; returns its path in `folder`.
        folder: where it goes.

    Raises:
        OSError, safetensors.SafetensorError: there is no room, or no right to write; nothing is left behind.
    """
    part = folder / f".{os.getpid()}.part"
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata=dict(metadata))
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        path = path_of(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    fsync_folder(folder)
    return path


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
