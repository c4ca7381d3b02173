"""Ray Tune's schedulers for a sweep: which trials are stopped at a score."""

from __future__ import annotations

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from search_spaces.early_stopping import EarlyStopping


def make_scheduler(stopping: EarlyStopping, metric: str, times: int) -> TrialScheduler:
    """Return the scheduler of trials of so many scores; Hyperband is Ray's asynchronous one, which pauses no trial."""
    if stopping.kind == "median":
        return MedianStoppingRule(
            time_attr="training_iteration",
            metric=metric,
            mode="max",
            grace_period=stopping.grace,
            min_samples_required=stopping.min_trials or 3,
        )
    if not stopping.stops:
        return FIFOScheduler()
    return ASHAScheduler(
        metric=metric,
        mode="max",
        max_t=times,
        grace_period=stopping.grace,
        reduction_factor=stopping.factor,
        brackets=(stopping.brackets or 3) if stopping.kind == "hyperband" else 1,
    )
