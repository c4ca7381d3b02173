"""How long a rank waits for the others in a step before it counts them as lost.

A rank that dies closes its connections, so the others notice at once. A rank that hangs (a stopped process, a stuck
device, a machine that swaps) keeps them, and only time tells it from a slow rank. The others therefore wait several
times as long as the longest step so far. The first step of a run compiles and loads, so they wait for it much longer.

How long steps take hints at the sizes of secret batches. The measured times stay in the memory of each rank. An
outsider who sees when a rank is given up learns one of a few lengths, each twice the one before.
"""

import time
from collections.abc import Callable
from datetime import timedelta

RAY_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"  # Ray's setting: how long a process outlives its cluster
FIRST_S = 7200.0  # for the first step of a run, and for ranks that load at different speeds
FLOOR_S = 600.0
MULTIPLE = 8.0  # of the longest step so far


class Patience:
    """How long one rank waits for the others: `floor_s` seconds at least, on a monotonic `clock` that tests replace."""

    def __init__(self, floor_s: float = FLOOR_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._floor_s, self._clock = floor_s, clock
        self._began_s = 0.0
        self._longest_s: float | None = None

    @property
    def length(self) -> timedelta:
        """How long to wait from now on.

        Formal guarantees:
            Before the first step of a run this is the larger of `FIRST_S` and the floor, later floor · 2**n for a whole
            number n ≥ 0. No step is given up that takes less than `MULTIPLE` times the longest step before it: a step
            that was given up shows in the log.
        """
        if self._longest_s is None:
            return timedelta(seconds=max(FIRST_S, self._floor_s))
        length_s = self._floor_s
        while length_s < MULTIPLE * self._longest_s:
            length_s *= 2
        return timedelta(seconds=length_s)

    def begin(self) -> None:
        self._began_s = self._clock()

    def end(self) -> None:
        self._longest_s = max(self._longest_s or 0.0, self._clock() - self._began_s)

    def begin_run(self) -> None:
        """Note that another run begins: its first step may take longer than any step of the last run."""
        self._longest_s = None
