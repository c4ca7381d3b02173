"""How long a rank waits for the others in a step before it takes them for lost.

A rank that dies hangs up, and is missed at once. One that hangs (a stopped process, a stuck device, a machine that
thrashes) keeps its connections, and only time tells it from a slow one. So much time as no step has needed so far, by
far, is enough; the first step of a run compiles and loads, and is waited for as long as it takes, within reason.

How long steps take hints at the sizes of secret batches. What is learned here stays in the memory of the rank that
learned it; what shows, when a rank is given up, is one of a few lengths that double.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

RAY_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"  # Ray's setting: how long a process outlives its cluster
FIRST_S = 7200.0  # for the first step of a run, and for ranks that load at different speeds
FLOOR_S = 600.0
MULTIPLE = 8.0  # of the longest step so far


class Patience:
    """What one rank waits for the others, step after step.

    Args:
        floor_s: seconds that are waited at least.
        clock: replaced in tests.
    """

    def __init__(self, floor_s: float = FLOOR_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._floor_s, self._clock = floor_s, clock
        self._began_s = 0.0
        self._longest_s: float | None = None

    @property
    def length(self) -> timedelta:
        """How long to wait from now on.

        Formal guarantees:
            It is `FIRST_S` or the floor before a step was taken, then floor · 2**n for a whole n ≥ 0, and no step that
            takes less than `MULTIPLE` times the longest one before it is given up: which steps are, stands in the log.
        """
        if self._longest_s is None:
            return timedelta(seconds=max(FIRST_S, self._floor_s))
        length_s = self._floor_s
        while length_s < MULTIPLE * self._longest_s:
            length_s *= 2
        return timedelta(seconds=length_s)

    def begin(self) -> None:
        """Note that a step begins."""
        self._began_s = self._clock()

    def end(self) -> None:
        """Note that it ended, on all ranks."""
        self._longest_s = max(self._longest_s or 0.0, self._clock() - self._began_s)

    def begin_run(self) -> None:
        """Note that another run begins: its first step may take longer than all of the last one's."""
        self._longest_s = None
