"""The gauges of a sweep and its trials on Ray's metrics port, which has no password: they hold only releasable values.

A gauge changes when a score is reported, or when a trial begins or ends, and not before: the time of each step hints at
the size of its secret batch. Ray forgets a gauge that nobody sets, so a thread sets each one again every few seconds,
with the same value. A search of one winner has no gauges: its trials, and their number, stay secret.
"""

import math
import time
from collections import Counter
from functools import cache
from threading import Thread

import ray

from orchestrator.storage.paths import Storage
from orchestrator.storage.trials import TrialRow, best_of
from orchestrator.sweep.monitor import SilentMonitor, WorkFacts

REPEAT_S = 5.0  # Ray forgets a gauge after 10 s or more
TRIAL, SWEEP, STATE = ("sweep", "trial"), ("sweep",), ("sweep", "state")  # tags
GAUGES = {
    "dpzo_steps": (TRIAL, "Steps of a trial that were released, as of its latest score."),
    "dpzo_score": (TRIAL, "Its latest score, public or noisy and paid for."),
    "dpzo_epsilon": (TRIAL, "Epsilon of the steps and scores that it has drawn tokens for, by itself."),
    "dpzo_sweep_trials": (STATE, "Trials of a sweep by state."),
    "dpzo_sweep_steps": (SWEEP, "Steps that its trials have drawn tokens for, as of their latest scores."),
    "dpzo_sweep_steps_reserved": (SWEEP, "Steps that all trials may take together."),
    "dpzo_sweep_epsilon": (SWEEP, "The reserved epsilon of the sweep, which is reported whatever is drawn."),
    "dpzo_sweep_best_score": (SWEEP, "The best last score of a complete trial."),
    "dpzo_sweep_lanes": (SWEEP, "Trials that run at this moment."),
}


def show_score(storage: Storage, holder: str, steps: int, score: float | None, epsilon: float | None) -> None:
    """Show the steps of a trial, its score there and its epsilon so far; nothing where trials stay secret.

    A number that is missing or not finite is left out. `holder` is the trial's name in the ledger.
    """
    if not storage.releases_trials:
        return
    for name, value in (("dpzo_steps", steps), ("dpzo_score", score), ("dpzo_epsilon", epsilon)):
        _show(name, value, storage.name, holder)


class SweepGauges(SilentMonitor):
    """Shows a sweep whose trials are released as gauges.

    Args:
        epsilon: the reserved ε.
        steps_reserved: steps that all trials may take together; None where the cap is not in steps.
    """

    def __init__(self, epsilon: float, steps_reserved: int | None) -> None:
        self._epsilon, self._steps_reserved = epsilon, steps_reserved

    def on_start(self, facts: WorkFacts) -> None:
        """Show what is reserved, and the trials that an earlier process ended."""
        assert facts.num_trials is not None, "a search of one winner has no gauges"
        self._facts, self._num_trials = facts, facts.num_trials
        self._rows = {row.number: row for row in facts.ended}
        _show("dpzo_sweep_steps_reserved", self._steps_reserved, facts.name)
        _show("dpzo_sweep_epsilon", self._epsilon, facts.name)
        self._show_trials()

    def on_trial_start(self, trial: TrialRow) -> None:
        """Show one trial more, or its new score or state."""
        self._rows[trial.number] = trial
        self._show_trials()

    on_score = on_trial_end = on_trial_start

    def _show_trials(self) -> None:
        rows, name = list(self._rows.values()), self._facts.name
        states = Counter(row.state for row in rows)
        to_come = max(0, self._num_trials - len(rows))
        for state in ("running", "complete", "stopped early", "failed"):
            _show("dpzo_sweep_trials", states[state], name, state)
        _show("dpzo_sweep_trials", to_come, name, "to come")
        _show("dpzo_sweep_lanes", states["running"], name)
        _show("dpzo_sweep_steps", sum(row.steps_charged for row in rows), name)
        best = best_of(rows)
        _show("dpzo_sweep_best_score", best.score if best else None, name)


_shown: dict[tuple[str, ...], float] = {}  # of this process, by gauge and values of its tags


def _show(name: str, value: float | None, *tags: str) -> None:
    if value is not None and math.isfinite(value) and ray.is_initialized():
        _shown[name, *tags] = value
        _set(name, value, *tags)
        _start_repeating()


@cache
def _start_repeating() -> None:
    Thread(target=_repeat, daemon=True, name="dpzo-gauges").start()


def _repeat() -> None:
    while True:
        time.sleep(REPEAT_S)
        for (name, *tags), value in list(_shown.items()):
            if ray.is_initialized():
                _set(name, value, *tags)


def _set(name: str, value: float, *tags: str) -> None:
    _gauge(name).set(value, tags=dict(zip(GAUGES[name][0], tags, strict=True)))


@cache
def _gauge(name: str):
    from ray.util.metrics import Gauge

    keys, description = GAUGES[name]
    return Gauge(name, description=description, tag_keys=keys)
