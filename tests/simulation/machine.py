"""A machine on which one process lives after the other: each operation is counted, and one of them meets a fault."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

FaultKind = Literal["kill", "power", "full", "read-only", "silence", "intruder"]
FAULTS: tuple[FaultKind, ...] = ("kill", "power", "full", "read-only", "silence", "intruder")
OperationKind = Literal["write", "sync", "row", "commit", "answer", "compute"]


class Killed(BaseException):
    """The process ends here, and nothing of it runs any more."""


@dataclass(frozen=True)
class Fault:
    """A fault that a process meets at its operation number `at`.

    kill: the process ends. power: so does the machine, and loses what was not synced. full, read-only: from then on
    nothing can be written. silence: for `length` operations, the database does not answer. intruder: another process
    runs at that moment.
    """

    kind: FaultKind
    at: int
    length: int = 1


class Machine:
    """Counts operations. `failing` is the kind of a lasting fault that is in force.

    Args:
        seed: of all that is left to chance below a fault: where a line is torn, which files are lost.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.day = date(2026, 3, 1)
        self.now_s = 0.0
        self.intruder: Callable[[], None] = lambda: None
        self._fault: Fault | None = None
        self.num_operations = self._num_processes = self.process_number = 0
        self._is_dead = False

    @contextmanager
    def process(self, fault: Fault | None):
        """Let a process live in the body, which meets a fault; a process inside another one is an intruder."""
        outer = self._fault, self.num_operations, self._is_dead, self.process_number
        self._num_processes += 1
        self._fault, self.num_operations, self._is_dead, self.process_number = fault, 0, False, self._num_processes
        try:
            yield
        finally:
            self._fault, self.num_operations, self._is_dead, self.process_number = outer

    def operate(self, kind: OperationKind, tear: Callable[[], Any] = lambda: None) -> None:
        """Count an operation that is about to happen; `tear` does a part of it, for a process that ends within it."""
        if self._is_dead:
            raise Killed
        self.num_operations += 1
        fault = self._fault
        if fault is None or self.num_operations != fault.at:
            return
        if fault.kind in ("kill", "power"):
            if self.random.random() < 0.5:
                tear()
            self._is_dead = True
            raise Killed
        if fault.kind == "intruder":
            self.intruder()

    @property
    def cannot_write(self) -> FaultKind | None:
        """The lasting fault of the disk that is in force, or None."""
        fault = self._fault
        lasting = fault is not None and fault.kind in ("full", "read-only") and self.num_operations >= fault.at
        return fault.kind if fault is not None and lasting else None

    @property
    def is_silent(self) -> bool:
        """Whether the database does not answer."""
        fault = self._fault
        return fault is not None and fault.kind == "silence" and 0 <= self.num_operations - fault.at < fault.length

    def today(self) -> str:
        """Return the machine's day."""
        return self.day.isoformat()

    def shift_clock(self, days: int) -> None:
        self.day += timedelta(days=days)

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Sleep in no time; a database that is silent comes nearer to its next answer."""
        self.now_s += seconds
        self.operate("compute")
