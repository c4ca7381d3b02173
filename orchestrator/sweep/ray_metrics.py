"""The gauges of a trial on Ray's metrics port, which has no password; so they hold only releasable values.

A gauge changes when a score is reported and not before: the time of each step hints at the size of its secret batch.
Ray forgets a gauge that nobody sets, so a thread sets each one again every few seconds, with the same value. A search
of one winner has no gauges: its trials, and their number, stay secret.
"""

import math
import time
from functools import cache
from threading import Thread

import ray

from orchestrator.storage.paths import Storage

TAGS = ("sweep", "trial")
REPEAT_S = 5.0  # Ray forgets a gauge after 10 s or more
DESCRIPTIONS = {
    "dpzo_steps": "Steps of a trial that were released, as of its latest score.",
    "dpzo_score": "Its latest score, public or noisy and paid for.",
    "dpzo_epsilon": "Epsilon of the steps and scores that it has drawn tokens for, by itself.",
}


def show_score(storage: Storage, holder: str, steps: int, score: float | None, epsilon: float | None) -> None:
    """Show the steps of a trial, its score there and its epsilon so far; nothing where trials stay secret.

    A number that is missing or not finite is left out. `holder` is the trial's name in the ledger.
    """
    if not storage.releases_trials or not ray.is_initialized():
        return
    for name, value in (("dpzo_steps", steps), ("dpzo_score", score), ("dpzo_epsilon", epsilon)):
        if value is not None and math.isfinite(value):
            _shown[name, storage.name, holder] = value
            _set(name, storage.name, holder, value)
    _start_repeating()


_shown: dict[tuple[str, str, str], float] = {}  # by gauge, sweep and trial; of this process


@cache
def _start_repeating() -> None:
    Thread(target=_repeat, daemon=True, name="dpzo-gauges").start()


def _repeat() -> None:
    while True:
        time.sleep(REPEAT_S)
        for (name, sweep, holder), value in list(_shown.items()):
            if ray.is_initialized():
                _set(name, sweep, holder, value)


def _set(name: str, sweep: str, holder: str, value: float) -> None:
    _gauge(name).set(value, tags={"sweep": sweep, "trial": holder})


@cache
def _gauge(name: str):
    from ray.util.metrics import Gauge

    return Gauge(name, description=DESCRIPTIONS[name], tag_keys=TAGS)
