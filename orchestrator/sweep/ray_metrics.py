"""The gauges of a trial on Ray's metrics port, which has no password; so they hold only releasable values.

A gauge changes when a score is reported and not before: the time of each step hints at the size of its secret batch.
`score.times` says how often a trial is scored; `dpzo status` shows the operator more. A search of one winner has no
gauges: its trials, and their number, stay secret.
"""

import math
from functools import cache

import ray

from orchestrator.storage.paths import Storage

TAGS = ("sweep", "trial")
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
            _gauge(name).set(value, tags={"sweep": storage.name, "trial": holder})


@cache
def _gauge(name: str):
    from ray.util.metrics import Gauge

    return Gauge(name, description=DESCRIPTIONS[name], tag_keys=TAGS)
