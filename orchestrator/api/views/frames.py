"""Trials as tables for programs: pandas DataFrames, a row a trial or a row a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.api.views.points import score_points
from orchestrator.config.models import SweepConfig
from orchestrator.storage.trials import TrialRow

if TYPE_CHECKING:
    from pandas import DataFrame


def trials_frame(trials: Sequence[TrialRow], config: SweepConfig) -> DataFrame:
    """Return a row a trial, by number: state, last score, steps, ε by itself, and the settings by dotted name."""
    from pandas import DataFrame, Index

    rows = [
        {
            "state": trial.state,
            "score": trial.score,
            "steps": trial.steps,
            "steps_charged": trial.steps_charged,
            "epsilon": trial.epsilon,
            **_settings(trial, config),
        }
        for trial in trials
    ]
    columns = ["state", "score", "steps", "steps_charged", "epsilon", *config.search.parameters]
    return DataFrame(rows, columns=columns, index=Index([trial.number for trial in trials], name="trial"))


def scores_frame(trials: Sequence[TrialRow], config: SweepConfig) -> DataFrame:
    """Return a row a score: trial, steps that it had taken, score, and its settings by dotted name."""
    from pandas import DataFrame

    rows = [
        {"trial": trial.number, "steps": steps, "score": score, **_settings(trial, config)}
        for trial in trials
        for steps, score in score_points(trial, config, trial.num_steps or config.method.num_steps)
    ]
    return DataFrame(rows, columns=["trial", "steps", "score", *config.search.parameters])


def _settings(trial: TrialRow, config: SweepConfig) -> dict[str, Any]:
    return {name: trial.values.get(name) for name in config.search.parameters}
