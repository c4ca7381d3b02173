"""What a trial has at which step: its scores and its schedules, as points (step, value)."""

from typing import Any

from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.storage.trials import TrialRow
from search_spaces.config import MENU
from search_spaces.trial_config import apply
from trainers.config.method import MethodConfig
from trainers.config.schedules import points

MOST_POINTS = 24  # of a schedule
Point = tuple[int, float]


def method_of(trial: TrialRow, config: LedgeredConfig) -> MethodConfig:
    """Return the method of a trial: the configuration's with the values that the search chose."""
    if not isinstance(config, SweepConfig):
        return config.method
    values = {name: value for name, value in trial.values.items() if name != MENU}
    return apply(config, values, filtered=config.search.filter is not None).method


def score_points(trial: TrialRow, config: LedgeredConfig, num_steps: int) -> list[Point]:
    """Return (step, score) of a trial of `num_steps` steps; one that ended early has its last score where it ended."""
    found = list(zip(config.score.points(num_steps), trial.scores, strict=False))
    if found and trial.state != "running" and trial.steps < found[-1][0]:
        found[-1] = (trial.steps, found[-1][1])
    return found


def schedule_points(method: MethodConfig, name: str) -> list[Point]:
    """Return (step, value) of one of the method's schedules; a constant has two points."""
    value: Any = getattr(method, name)
    return points(value, method.num_steps, method.stage_starts, most=2 if isinstance(value, float) else MOST_POINTS)
