"""A machine on which one process lives after the other: each operation is counted, and one of them meets a fault.

A process may be a driver with ranks as threads, of which one runs at a time: their operations are counted together.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

FaultKind = Literal["kill", "power", "full", "read-only", "silence", "intruder", "lost"]
FAULTS: tuple[FaultKind, ...] = ("kill", "power", "full", "read-only", "silence", "intruder")
OperationKind = Literal["write", "sync", "row", "commit", "answer", "compute", "message"]


class Killed(BaseException):
    """The process, or this rank of it, ends here, and nothing of it runs any more."""


@dataclass(frozen=True)
class Fault:
    """A fault that a process meets at its operation number `at`.

    kill: the process ends. power: so does the machine, and loses what was not synced. full, read-only: from then on
    nothing can be written. silence: for `length` operations, the database does not answer. intruder: another process
    runs at that moment. lost: the rank that is at work ends, and the process lives on.
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
        self.lost: set[int] = set()  # threads of ranks that ended
        self._fault: Fault | None = None
        self.num_operations = self._num_processes = self.process_number = 0
        self._is_dead = False

    @contextmanager
    def process(self, fault: Fault | None) -> Iterator[None]:
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
        self.require_alive()
        self.num_operations += 1
        fault = self._fault
        if fault is None or self.num_operations != fault.at:
            return
        if fault.kind in ("kill", "power", "lost"):
            if self.random.random() < 0.5:
                tear()
            self._end(fault.kind)
        if fault.kind == "intruder":
            self.intruder()

    def require_alive(self) -> None:
        """End what is dead: the process, or the rank whose thread this is."""
        if self._is_dead or threading.get_ident() in self.lost:
            raise Killed

    def _end(self, kind: FaultKind) -> None:
        if kind == "lost" and threading.current_thread() is not threading.main_thread():
            self.lost.add(threading.get_ident())
        else:
            self._is_dead = True
        raise Killed

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

    def time(self) -> float:
        return datetime.combine(self.day, datetime.min.time(), UTC).timestamp() + self.now_s

    def sleep(self, seconds: float) -> None:
        """Sleep in no time; a database that is silent comes nearer to its next answer."""
        self.now_s += seconds
        self.operate("compute")


class Entropy:
    """Stands for `secrets` in modules, so that a history is the same whenever it is run again."""

    def __init__(self, machine: Machine) -> None:
        self.randbelow, self.randbits = machine.random.randrange, machine.random.getrandbits
        self.token_bytes = machine.random.randbytes
        self._machine = machine

    def token_hex(self, num_bytes: int) -> str:
        return self.token_bytes(num_bytes).hex()

    def SystemRandom(self) -> random.Random:  # noqa: N802 - as in secrets
        return random.Random(self._machine.random.getrandbits(64))
