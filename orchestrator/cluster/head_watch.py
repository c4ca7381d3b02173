"""Ends the driver with one clear line when the head of the Ray cluster is gone.

Ray itself ends a process whose head has not answered for a minute, and prints a page of its own log and no advice.
Until then, calls that wait on Ray (Tune, Train, a task) hear nothing, or take the loss for failed trials. So the driver
tests whether the head's port is open, and ends a little before Ray would end it. Nothing is lost: the ledger and the
release logs are on disk, and `dpzo resume` continues from them.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console

from trainers.workers.patience import RAY_PATIENCE

SHARE = 0.75  # of Ray's own patience; the head may come back within it
LOOK_S = 1.0
CONNECT_S = 5.0
EXIT_CODE = 1


@contextmanager
def head_watched(address: str, leave: Callable[[int], None] = os._exit) -> Iterator[None]:
    """Watch the head at host:port while the body runs; when it is gone, print one line and call `leave`."""
    patience_s = SHARE * float(os.environ.get(RAY_PATIENCE, "60"))
    done = Event()

    def watch() -> None:
        if not _lost(address, patience_s, done):
            return
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        console.show_cursor()  # a live table hid it
        console.print(
            f"Stopped: the head of the Ray cluster at {address} is gone. Every release is in the logs and in the "
            "ledger. Start a cluster, and continue with `dpzo resume`."
        )
        leave(EXIT_CODE)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _lost(address: str, patience_s: float, done: Event) -> bool:
    """Return True when the head has not answered for `patience_s`, False when the body is done."""
    silent_since: float | None = None
    while not done.wait(LOOK_S):
        if _answers(address):
            silent_since = None
        elif silent_since is None:
            silent_since = time.monotonic()
        elif time.monotonic() - silent_since > patience_s:
            return True
    return False


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True
