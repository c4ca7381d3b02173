"""The progress of a run: a small file that the run rewrites while it takes steps, at most once a second.

The ledger stores only the day of a draw, and a release log stores no time, because the times of steps hint at the sizes
of secret batches. So the rate in a progress file is a mean over the last 30 s, and the file stays with the operator. A
search of one winner writes no progress at all.
"""

import json
import os
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from orchestrator.storage.files import read_object, write_whole

PERIOD_S = 1.0
WINDOW = 30  # the rate is a mean over this many periods


@dataclass(frozen=True)
class Progress:
    """The steps of a run at Unix time `at`, and the process that takes them; `steps_per_s` is None until known."""

    holder: str
    steps: Annotated[int, Field(ge=0)]
    num_steps: Annotated[int, Field(ge=0)]
    steps_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    at: Annotated[float, Field(allow_inf_nan=False)]
    host: str
    pid: int


_STORED = TypeAdapter(Progress)


class ProgressFile:
    """Is called after each step, and writes the progress once a second.

    Args:
        folder, holder: the folder has a file for each holder, a run or trial as the ledger names it.
        replayed: steps that are in the release log already; they do not count for the rate.
    """

    def __init__(self, folder: Path, holder: str, num_steps: int, replayed: int) -> None:
        self._path, self._holder = folder / f"{holder}.json", holder
        self._num_steps, self._replayed = num_steps, replayed
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._next_s = 0.0

    def __call__(self, steps: int) -> None:
        """Report that the run has taken this many steps in all."""
        now = time.monotonic()
        if now < self._next_s and steps < self._num_steps:
            return
        self._next_s = now + PERIOD_S
        rate = self._rate(now, steps)
        progress = Progress(self._holder, steps, self._num_steps, rate, time.time(), socket.gethostname(), os.getpid())
        with suppress(OSError):  # on a full disk the release log stops the run; the progress need not
            write_whole(self._path, json.dumps(asdict(progress)), durable=False)

    def _rate(self, now: float, steps: int) -> float | None:
        if steps <= self._replayed:
            return None
        self._seen.append((now, steps))
        (then, before), elapsed = self._seen[0], now - self._seen[0][0]
        return (steps - before) / elapsed if then < now else None


def read_progress(folder: Path) -> dict[str, Progress]:
    """Return the latest progress of each holder."""
    found = {}
    for path in folder.glob("*.json"):
        with suppress(ValueError, OSError):  # it is rewritten within a second of the next step, and removed at the end
            found[path.stem] = _STORED.validate_python(read_object(path))
    return found
