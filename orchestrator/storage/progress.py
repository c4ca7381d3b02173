"""How far a run is and how fast it goes: a small file that it rewrites while it steps, at most once a second.

The ledger dates draws by the day, on purpose, and a release log has no clock: times of steps hint at the sizes of
secret batches. What is fast enough to be watched is a mean over the last half minute, and its file stays with the
operator. Of a search of one winner nothing is written at all.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

PERIOD_S = 1.0
WINDOW = 30  # periods that a rate is the mean of


@dataclass(frozen=True)
class Progress:
    """Where a run was at `at` (Unix time), and who takes it; `steps_per_s` is None until it is known."""

    holder: str
    steps: int
    num_steps: int
    steps_per_s: float | None
    at: float
    host: str
    pid: int


class ProgressFile:
    """Takes note of each step, and once a second writes how far the run is.

    Args:
        folder: of the files, one for each holder.
        holder: whose steps these are.
        num_steps: T.
        replayed: steps that are in the release log already; they are no measure of speed.
    """

    def __init__(self, folder: Path, holder: str, num_steps: int, replayed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._holder = folder / f"{holder}.json", holder
        self._num_steps, self._replayed = num_steps, replayed
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._next_s = 0.0

    def __call__(self, steps: int) -> None:
        """Note that θ contains so many steps."""
        now = time.monotonic()
        if now < self._next_s and steps < self._num_steps:
            return
        self._next_s = now + PERIOD_S
        progress = Progress(
            self._holder, steps, self._num_steps, self._rate(now, steps), time.time(), socket.gethostname(), os.getpid()
        )
        with suppress(OSError):  # a disk that is full stops a run where it must, at the release log
            _write(self._path, progress)

    def _rate(self, now: float, steps: int) -> float | None:
        if steps <= self._replayed:
            return None
        self._seen.append((now, steps))
        (then, before), elapsed = self._seen[0], now - self._seen[0][0]
        return (steps - before) / elapsed if then < now else None


def read_progress(folder: Path) -> dict[str, Progress]:
    """Return the last word of each holder."""
    return {path.stem: Progress(**json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")}


def _write(path: Path, progress: Progress) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(progress)), encoding="utf-8")
    temporary.replace(path)
