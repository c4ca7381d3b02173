"""What a lane tells Ray's metrics port, which has no password: releasable values alone.

Steps, the score and ε of each trial, tagged with sweep and trial, when a score is reported and not before: whoever
watches a count of steps learns how long each took, which hints at the size of a secret batch (`dpzo status` shows the
operator more; `score.times` says how often it is). Of a search of one winner nothing is told: its trials, and how many
there are, stay secret.
"""

from __future__ import annotations

import math
from functools import cache

TAGS = ("sweep", "trial")
DESCRIPTIONS = {
    "dpzo_steps": "Steps of a trial that were released, as of its latest score.",
    "dpzo_score": "Its latest score, public or noisy and paid for.",
    "dpzo_epsilon": "Epsilon of the steps and scores that it has drawn tokens for, by itself.",
}


class Metrics:
    """The gauges of one trial."""

    def __init__(self, sweep: str, trial: str) -> None:
        self._tags = {"sweep": sweep, "trial": trial}

    def scored(self, steps: int, score: float | None, epsilon: float | None) -> None:
        """Show how far the trial is, what it reached there, and what it has cost."""
        self._set("dpzo_steps", steps)
        self._set("dpzo_score", score)
        self._set("dpzo_epsilon", epsilon)

    def _set(self, name: str, value: float | None) -> None:
        if value is not None and math.isfinite(value):
            _gauge(name).set(value, tags=self._tags)


@cache
def _gauge(name: str):
    from ray.util.metrics import Gauge

    return Gauge(name, description=DESCRIPTIONS[name], tag_keys=TAGS)
