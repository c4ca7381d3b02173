"""The release log: every token that a run took and every value that it released, on disk before it is used.

One JSON object a line, each fsynced and chained by a hash over all lines before it, so that a changed line is noticed:

| line     | holds                                                                                                |
|----------|------------------------------------------------------------------------------------------------------|
| header   | which run this is                                                                                    |
| RESERVE  | a token; written before private data is touched                                                      |
| RELEASE  | the noisy integers of a step or score, before they are used; of a first-order step, a digest         |
| PUBLIC   | what no private data entered: the digest of a mask, with its numbers, or of a public basis           |
| SNAPSHOT | the digest of a first-order run's snapshot, which holds its weights                                  |

Together with the public directions the releases ARE the checkpoint of a zeroth-order run: replaying them on the base
model rebuilds the weights, from about 16 bytes a direction and step. What a kill leaves behind:

| killed                                  | on restart                                                          |
|-----------------------------------------|---------------------------------------------------------------------|
| before RESERVE is on disk               | nothing happened                                                    |
| after RESERVE, before RELEASE           | the token stays charged; a new batch and new noise under a new token |
| after RELEASE, before the update        | the release is replayed (post-processing, free)                     |
| in the middle of a line                 | the torn last line is cut off; it was not used                      |
| after a line, before its fsync          | the line is made durable before it is used                          |
"""

import errno
import fcntl
import hashlib
import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np

from trainers.errors import DpzoError
from trainers.mechanism.log_header import filled, require_same_run

FORMAT = "dpzo.release-log.v1"
LOG_NAME, BASIS_FILES = "release_log.jsonl", "basis-*.safetensors"  # in a run's folder: log and public bases

Kind = Literal["step", "score"]
LOG_KINDS: tuple[Kind, ...] = ("step", "score")
LOCK_PATIENCE_S = 90.0


class LogInUseError(DpzoError, ValueError):
    """Another process has the log open; it may be about to end."""


class LogCopy(Protocol):
    """Holds the lines of a log where a lost disk does not reach them, without their line ends."""

    def lines(self) -> list[bytes]:
        """Return all lines."""
        ...

    def append(self, number: int, line: bytes) -> None:
        """Make line number `number`, from 0, durable; LogInUseError where another writer was there first."""


class Transcript:
    """The content of a release log in memory; ranks other than 0 have no more. Rank 0 writes it to the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.releases: dict[Kind, list[np.ndarray]] = {kind: [] for kind in LOG_KINDS}
        self.num_reserved: dict[Kind, int] = dict.fromkeys(LOG_KINDS, 0)
        self.snapshots: list[str] = []
        self.public_values: list[list[float]] = []
        self.public_digests: list[str | None] = []  # None in logs of versions that wrote none

    def num_released(self, kind: Kind) -> int:
        return len(self.releases[kind])

    def reserve(self, kind: Kind, index: int) -> None:
        """Record that step or score number `index` is about to touch private data."""
        self._append({"type": "RESERVE", "kind": kind, "index": index, "token": self.num_reserved[kind]})
        self.num_reserved[kind] += 1

    def release(self, kind: Kind, index: int, noisy_K: np.ndarray) -> None:
        """Record the noisy integers of step or score number `index`; int64 [K]."""
        self._release(kind, index, np.asarray(noisy_K, dtype=np.int64), units=[int(value) for value in noisy_K])

    def release_digest(self, kind: Kind, index: int, digest: str) -> None:
        """Record the digest of the release of step number `index`; the value is kept elsewhere."""
        self._release(kind, index, np.empty(0, dtype=np.int64), digest=digest)

    def _release(self, kind: Kind, index: int, noisy_K: np.ndarray, **value: Any) -> None:
        assert index == self.num_released(kind) < self.num_reserved[kind], f"{kind} {index} released out of turn"
        self._append({"type": "RELEASE", "kind": kind, "index": index, **value})
        self.releases[kind].append(noisy_K)

    def snapshot(self, digest: str) -> None:
        """Record that a snapshot with this digest belongs to the run."""
        self._append({"type": "SNAPSHOT", "digest": digest})
        self.snapshots.append(digest)

    def publish(self, index: int, values: list[float], digest: str, of: Literal["mask", "basis"] = "mask") -> None:
        """Record list number `index` of public numbers, and the digest of the mask or basis that they belong to."""
        assert index == len(self.public_values), f"public values {index} out of turn"
        self._append({"type": "PUBLIC", "index": index, "values": values, f"{of}_digest": digest})
        self.public_values.append(values)
        self.public_digests.append(digest)

    def close(self) -> None:
        """Close the file, if there is one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, entry: dict[str, Any]) -> None:
        """Make an entry durable, where there is a file."""


class ReleaseLog(Transcript):
    """The append-only log of one run, open for one writer. An entry is durable when its call returns.

    Args:
        path: file of the log; it is created, with its folder, or opened and verified.
        header: JSON values that identify the run. A log with another header is refused.
        defaults: values of the keys that a header lacks, one of an earlier version or this one.
        lock_patience_s: how long to wait for another process that has the log open and may be about to end.
        copy: gets each line before the file does. A file that was lost is made from it.

    Raises:
        ValueError: the file belongs to another run, is open in another process, was changed, or differs from its copy.
        LogUnwritable: here and at each entry: the disk is full or broken. The log is then closed.
    """

    def __init__(
        self,
        path: Path,
        header: dict[str, Any],
        defaults: dict[str, Any] | None = None,
        *,
        lock_patience_s: float = LOCK_PATIENCE_S,
        copy: LogCopy | None = None,
    ) -> None:
        super().__init__(path)
        self._defaults = defaults or {}
        self._copy = copy
        self._num_lines = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - open and locked while the run lives
        self._chain = b""
        with ExitStack() as close_on_error:
            close_on_error.callback(self._file.close)
            self._lock(lock_patience_s)
            lines = self._with_copy(self._complete_lines())
            self._num_lines = len(lines)
            if lines:
                self._read(lines, header)
            else:
                self._append({"format": FORMAT, "run": header})
            fsync_folder(path.parent)
            close_on_error.pop_all()

    def close(self) -> None:
        self._file.close()

    def _lock(self, patience_s: float) -> None:
        last_try = time.monotonic() + patience_s
        while not self._locked():
            if time.monotonic() < last_try:
                time.sleep(0.2)
                continue
            raise LogInUseError(
                f"{self.path} is being written by another process; one run has one writer. Wait for it or end it, then "
                "`dpzo resume`."
            )

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _complete_lines(self) -> list[bytes]:
        """Return the complete lines, durable; cut off an unfinished last one, which a kill left."""
        self._file.seek(0)
        content = self._file.read()
        complete = content[: content.rfind(b"\n") + 1]
        if len(complete) < len(content):
            self._file.truncate(len(complete))
        if content:
            os.fsync(self._file.fileno())  # the last line may be of a process that was killed before it could do so
        return complete.splitlines()

    def _with_copy(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines of the file or of its copy, whichever has more, and make them the same."""
        if self._copy is None:
            return lines
        copied = self._copy.lines()
        if any(one != other for one, other in zip(lines, copied, strict=False)):
            raise ValueError(
                f"{self.path} and its copy in the database differ: they are of two runs, or one was changed. Move the "
                "file away to go on from the copy."
            )
        for number, line in enumerate(lines[len(copied) :], start=len(copied)):
            self._copy.append(number, line)
        for line in copied[len(lines) :]:
            self._write(line)
        return max(lines, copied, key=len)

    def _read(self, lines: list[bytes], header: dict[str, Any]) -> None:
        first = self._verify(lines[0], 1)
        if first.get("format") != FORMAT:
            raise ValueError(
                f"{self.path} is not a release log of format {FORMAT}: its first line says {first.get('format')!r}."
            )
        logged, expected = (filled(one, self._defaults) for one in (first["run"], json.loads(canonical(header))))
        require_same_run(self.path, logged, expected)
        for number, line in enumerate(lines[1:], start=2):
            entry = self._verify(line, number)
            if entry["type"] == "RESERVE":
                self.num_reserved[entry["kind"]] += 1
            elif entry["type"] == "SNAPSHOT":
                self.snapshots.append(entry["digest"])
            elif entry["type"] == "PUBLIC":
                self.public_values.append(entry["values"])
                self.public_digests.append(entry.get("mask_digest", entry.get("basis_digest")))
            else:
                self.releases[entry["kind"]].append(np.array(entry.get("units", []), dtype=np.int64))

    def _verify(self, line: bytes, number: int) -> dict[str, Any]:
        entry = json.loads(line)
        claimed = entry.pop("chain", None)
        self._chain = next_link(self._chain, entry)
        if claimed != self._chain.hex():
            raise ValueError(
                f"{self.path} line {number} does not follow from the lines before it: the log was changed or damaged. "
                "Restore the file, or start a new run (the steps taken stay charged)."
            )
        return entry

    def _append(self, entry: dict[str, Any]) -> None:
        chain = next_link(self._chain, entry)
        line = canonical({**entry, "chain": chain.hex()})
        if self._copy is not None:
            self._copy.append(self._num_lines, line)
        self._write(line)
        self._num_lines += 1
        self._chain = chain

    def _write(self, line: bytes) -> None:
        try:
            if self._file.write(line + b"\n") < len(line) + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            self.close()  # a line after a torn one would not be read
            raise LogUnwritable(
                f"{self.path} cannot be written: {error.strerror}. Every release so far is accounted for. Make room, "
                "and start the same command again."
            ) from None


def next_link(chain: bytes, entry: dict[str, Any]) -> bytes:
    """Return the hash of an entry, chained to that of the entry before it."""
    return hashlib.blake2b(chain + canonical(entry), digest_size=16).digest()


def canonical(entry: dict[str, Any]) -> bytes:
    """Return the bytes of an entry: the same for equal entries."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Stopped(DpzoError, RuntimeError):
    """A run cannot continue. The message is for people and holds nothing that private data entered."""


class LogUnwritable(Stopped):
    """The release log cannot be written: the disk is full or broken. Nothing is used that is not in the log."""
