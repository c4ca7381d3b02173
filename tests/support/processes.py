"""Finding the processes of a run that was started as a user starts it, to kill some of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def children_of(pid: int) -> set[int]:
    """Return all descendants of a process."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def train_workers(driver: int) -> set[int]:
    """Return the Ray Train workers below a driver."""
    return {pid for pid in children_of(driver) if "RayTrainWorker" in _title(pid)}


def holder_of_file(path: Path, among: set[int]) -> int | None:
    """Return which process has a file open."""
    for pid in among:
        with suppress(OSError):
            if any(fd.resolve() == path.resolve() for fd in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
    return None


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float, what: str, pause_s: float = 0.002) -> None:
    """Wait until a condition holds; fail with `what` when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(pause_s)


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
