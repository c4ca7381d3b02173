"""Ray Tune's schedulers for a sweep: which trials are stopped at a score."""

from __future__ import annotations

import math
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from search_spaces.early_stopping import EarlyStopping
from trainers.config import RunConfig
from trainers.config.mechanism import score_plan
from trainers.config.run import CONFUSION_METRICS


class LenientBracket(_Bracket):
    """The rungs of one grace period; a trial goes on where noise may be why its score is too low."""

    def __init__(self, margin: float, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._margin = margin

    def cutoff(self, recorded: dict[str, float]) -> Any:
        """Return the score below which a trial is stopped at a rung; None before the first."""
        found = super().cutoff(recorded)
        return None if found is None else found - self._margin


class LenientMedian(MedianStoppingRule):
    """The median rule; a trial goes on where noise may be why its score is too low."""

    def __init__(self, margin: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._margin = margin

    def _best_result(self, trial: Any) -> float:
        return float(super()._best_result(trial)) + self._margin


def score_error(config: RunConfig) -> float:
    """Return the standard error that noise gives a private score, in units of the metric; 0 on public rows.

    Of F1, precision and recall it is that of the accuracy from the same confusion matrix.
    """
    if config.score.on == "public":
        return 0.0
    plan = score_plan(config)
    sd = (plan.noise_multiplier or 0.0) * (plan.clip_norm or 1.0) * (math.sqrt(2) if plan.noise == "laplace" else 1.0)
    cells = len(config.task.label_names) if config.metric in CONFUSION_METRICS else 1
    return sd * math.sqrt(cells) / plan.expected_batch_size


def make_scheduler(stopping: EarlyStopping, metric: str, times: int, error: float = 0.0) -> TrialScheduler:
    """Return the scheduler of trials of so many scores; Hyperband is Ray's asynchronous one, which pauses no trial.

    `error` is the standard error of a score's noise.
    """
    margin = stopping.margin * error
    if stopping.kind == "median":
        return LenientMedian(
            margin,
            time_attr="training_iteration",
            metric=metric,
            mode="max",
            grace_period=stopping.grace,
            min_samples_required=stopping.min_trials or 3,
        )
    if not stopping.stops:
        return FIFOScheduler()
    brackets = (stopping.brackets or 3) if stopping.kind == "hyperband" else 1
    scheduler = ASHAScheduler(
        metric=metric,
        mode="max",
        max_t=times,
        grace_period=stopping.grace,
        reduction_factor=stopping.factor,
        brackets=brackets,
    )
    lenient: list[_Bracket] = [
        LenientBracket(margin, stopping.grace, times, stopping.factor, number) for number in range(brackets)
    ]
    scheduler._brackets = lenient
    return scheduler
