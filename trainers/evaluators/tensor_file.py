"""Tensors in one file that is there whole or not at all, and the digest of a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from trainers.mechanism.release_log import fsync_folder

PATTERN_OF_PARTS = ".*.part"
_READ_BYTES = 2**20


def write_tensors(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], path_of: Callable[[Path], Path], folder: Path
) -> Path:
    """Write tensors, with text to keep with them, as `write_tensor_file` does."""
    return write_tensor_file(partial(save_tensors, tensors, metadata), path_of, folder)


def save_tensors(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], path: Path) -> None:
    """Write tensors by name, and text to keep with them, to a file.

    Raises:
        OSError: there is no room, or no right to write.
    """
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=dict(metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and tensor of a file, one after the other; what is not asked for takes no memory."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def write_tensor_file(write: Callable[[Path], None], path_of: Callable[[Path], Path], folder: Path) -> Path:
    """Write a file durably under the name that `path_of` gives it when it is finished, and return it.

    Args:
        write: writes it to a path.
        path_of: called with the file while it has another name; returns its path in `folder`.
        folder: where it goes.

    Raises:
        OSError: there is no room, or no right to write; nothing is left behind.
    """
    part = folder / f".{os.getpid()}.part"
    try:
        write(part)
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
