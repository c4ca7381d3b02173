"""What a signal does to `dpzo`, at any moment: one line that says how to go on, and exit code 128 + signal.

Nothing is unwound. Ledger and release logs are whole on disk at every moment, so that even a kill -9 loses nothing; and
what is not unwound cannot hang, and prints no stack. A thread hears of the signal, so that it counts also while the
main thread waits in a library's code, and where a library has put a handler of its own in place.
"""

import os
import shlex
import signal
from contextlib import suppress
from threading import Lock, Thread

import psutil

from orchestrator.storage.paths import Storage, root_of, storage_in
from trainers.config import RunConfig

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
SHOW_CURSOR = "\n\x1b[?25h"  # below a live view, which hid it

_storage: Storage | None = None  # of the run or sweep that this process works on
_ending = Lock()  # held by whoever ends the process, and never released


def end_at_signals() -> None:
    """From now on, let a signal end this process; called once, by the main thread."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, lambda number, frame: _end(number))
    os.register_at_fork(after_in_child=_leave_to_the_parent)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # Ray starts the program of a job with SIGINT blocked
    Thread(target=_listen, args=(heard,), daemon=True).start()


def work_on(config: RunConfig) -> None:
    """From now on, this process works on this run or sweep."""
    global _storage
    _storage = storage_in(root_of(config), config, config.name)


def current_storage() -> Storage | None:
    """Return the paths of the run or sweep that this process works on."""
    return _storage


def _advice() -> str:
    if _storage is None:
        return ""
    if _storage.result_file.exists():
        return f" It is finished; its results are in {_storage.place}."
    if _storage.config_file.exists():
        return f" Continue with: dpzo resume {shlex.quote(_storage.place)}"
    return " It had not begun: start the same command again."


def _listen(heard: int) -> None:
    while (number := os.read(heard, 1)[0]) not in SIGNALS:
        pass
    _end(number)


def _end(number: int) -> None:
    """End this process and all below it."""
    if not _ending.acquire(blocking=False):
        return
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "resource_tracker" not in " ".join(child.cmdline()):  # it ends last, and removes what others shared
                child.kill()
    line = f"Interrupted by {signal.Signals(number).name}.{_advice()}\n"
    with suppress(OSError):  # the terminal may be gone
        os.write(2, ((SHOW_CURSOR if os.isatty(2) else "") + line).encode())
    os._exit(128 + number)


def _leave_to_the_parent() -> None:
    """In a forked process, let signals do what they do by default; the pipe is the parent's."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
