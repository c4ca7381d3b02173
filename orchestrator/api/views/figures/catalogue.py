"""All figures of a sweep by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.api.views.figures.schedules import schedules
from orchestrator.api.views.figures.scores import history, over_epsilon, over_steps
from orchestrator.api.views.figures.settings import importance, parallel
from orchestrator.api.views.figures.spending import epsilon
from orchestrator.api.views.figures.trials import Trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: Mapping[str, Callable[[Trials], Figure]] = {
    "history": history,
    "scores": over_steps,
    "privacy": over_epsilon,
    "epsilon": epsilon,
    "importance": importance,
    "parallel": parallel,
    "schedules": schedules,
}


def draw(kind: str, trials: Trials) -> Figure:
    """Return one figure of a sweep; ValueError names the kinds if there is no such one."""
    if kind not in FIGURES:
        raise ValueError(f"plot: expected one of {', '.join(FIGURES)}; got {kind!r}")
    return FIGURES[kind](trials)
