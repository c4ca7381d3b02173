"""Ends a helper process together with the process that started it, also when that one is killed with -9."""

import multiprocessing
import os
from threading import Thread


def end_with_parent() -> None:
    """From now on, let the end of the parent end this process; called first in a process of `multiprocessing`."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "the main process has no parent that multiprocessing knows"

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
