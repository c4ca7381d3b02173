"""A disk below the release log and the small files: what was not synced is lost with the power, and writes may fail."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.simulation.machine import Machine

_ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS}


class Disk:
    """Stands for `open` and `os` in modules that write files. Knows how much of each file, by inode, is durable."""

    def __init__(self, machine: Machine, root: Path) -> None:
        self.machine, self.root = machine, root
        self.durable: dict[int, int] = {}
        self._new_names: set[Path] = set()
        self._open: list[tuple[int, Any]] = []  # with the process

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open_file(self, path: str | Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """Open as the built-in function does."""
        path, is_new = Path(path), not os.path.exists(path)
        if is_new and mode[0] in "aw":
            self._require_writable()
        file = open(path, mode, *args, **kwargs)  # noqa: SIM115 - the caller closes it
        self._open.append((self.machine.process_number, file))
        if mode[0] not in "aw":
            return file
        if is_new:
            self._new_names.add(path)
        if is_new or mode[0] == "w":
            self.durable[os.fstat(file.fileno()).st_ino] = 0
        return DiskFile(file, self)

    def getpid(self) -> int:
        """Return the number of the process that is alive: two of them never share a temporary file."""
        return self.machine.process_number

    def fsync(self, descriptor: int) -> None:
        """Make a file's content, or a folder's names, durable."""
        self.machine.operate("sync")
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            here = {path for path in self._new_names if _inode(path.parent) == found.st_ino}
            self._new_names -= here
        else:
            self.durable[found.st_ino] = found.st_size

    def end_process(self) -> None:
        """Close what the process has left open, with its locks: it has ended, or its ranks have."""
        number = self.machine.process_number
        for owner, file in self._open:
            if owner == number:
                file.close()
        self._open = [(owner, file) for owner, file in self._open if owner != number]

    def lose_power(self) -> None:
        """Lose some of what was not synced: ends of files, and names of files."""
        chance = self.machine.random
        for path in sorted(self._new_names):
            if chance.random() < 0.5:
                path.unlink(missing_ok=True)
        self._new_names.clear()
        for path in sorted(self.root.rglob("*")):
            found = path.stat()
            durable = self.durable.get(found.st_ino)
            if path.is_file() and durable is not None and durable < found.st_size:
                os.truncate(path, chance.randint(durable, found.st_size))

    def restore(self, path: Path, content: bytes) -> None:
        """Put an earlier content of a file back."""
        path.write_bytes(content)
        self.durable[_inode(path)] = len(content)

    def content_on_disk(self, path: Path) -> bytes:
        """Return what a loss of power would leave of a file for certain."""
        if path in self._new_names or not path.exists():
            return b""
        return path.read_bytes()[: self.durable.get(_inode(path))]

    def _require_writable(self) -> None:
        if (why := self.machine.cannot_write) is not None:
            raise OSError(_ERRORS[why], os.strerror(_ERRORS[why]))


class DiskFile:
    """An open file on the disk."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> DiskFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        part = data[: self._disk.machine.random.randrange(len(data))]
        self._disk.machine.operate("write", tear=lambda: self._file.write(part))
        if self._disk.machine.cannot_write == "full" and self._disk.machine.random.random() < 0.5:
            written = self._file.write(part)  # as write(2) does when the disk becomes full within it
            if isinstance(self._file, io.RawIOBase):  # the others try again, and fail
                return written
        self._disk._require_writable()
        return self._file.write(data)

    def truncate(self, size: int) -> int:
        self._disk.machine.operate("write")
        self._disk._require_writable()
        inode = _inode(self._file.name)
        self._disk.durable[inode] = min(size, self._disk.durable.get(inode, size))
        return self._file.truncate(size)


def _inode(path: Any) -> int:
    return os.stat(path).st_ino


def put_in_place(disk: Disk, modules: list[Any], setattr_: Callable[..., None]) -> None:
    """Let modules open and sync files through a disk."""
    for module in modules:
        setattr_(module, "open", disk.open_file, raising=False)
        setattr_(module, "os", disk)
