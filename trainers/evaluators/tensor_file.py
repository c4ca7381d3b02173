"""Safetensors files that are written completely or not at all, and the digest of a file."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from trainers.mechanism.release_log import fsync_folder

PATTERN_OF_PARTS = ".*.part"
_READ_BYTES = 2**20


def save_tensors(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], path: Path) -> None:
    """Write named tensors and metadata to a safetensors file; OSError if the disk is full or refuses it."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=dict(metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, tensor) of a safetensors file. One tensor is in memory at a time."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def write_tensor_file(write: Callable[[Path], None], path_of: Callable[[Path], Path], folder: Path) -> Path:
    """Write a file durably, then rename it to what `path_of` returns; return that path.

    Args:
        write: writes the file to a temporary path, which is removed if this raises an OSError.
        path_of: temporary path of the finished file → its final path in `folder`.
    """
    part = folder / f".{secrets.token_hex(8)}.part"  # two hosts may share the folder
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


def update_with_tensor(digest: Any, name: str, tensor: torch.Tensor) -> None:
    """Add the name, shape and bits of a tensor to a digest of hashlib."""
    digest.update(f"{name}{tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
