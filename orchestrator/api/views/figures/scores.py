"""Scores of a sweep: the best so far by trial, and every trial over its steps or over its ε."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator.api.views.figures.style import BEST, COLORS, new_figure, score_axis
from orchestrator.api.views.figures.trials import Trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def history(trials: Trials) -> Figure:
    """Draw the last score of each trial, and the best of the complete ones so far."""
    figure, (panel,) = new_figure()
    for state, color in COLORS.items():
        rows = [row for row in trials.scored if row.state == state]
        if rows:
            panel.scatter(
                [row.number for row in rows], [_last(row) for row in rows], color=color, label=state, zorder=3
            )
    numbers, best = [], []
    for row in trials.scored:
        if row.state == "complete":
            numbers.append(row.number)
            best.append(max([*best[-1:], _last(row)]))
    if best:
        panel.step(numbers, best, where="post", color=BEST, label="best so far")
        panel.legend(frameon=False)
    _whole_numbers(panel.xaxis)
    panel.set_xlabel("trial")
    panel.set_title("Score of each trial")
    score_axis(panel.yaxis, trials.metric)
    return figure


def over_steps(trials: Trials) -> Figure:
    """Draw the scores of each trial over the steps that it had taken; the best trial stands out."""
    figure, (panel,) = new_figure()
    for row in trials.scored:
        steps, scores = zip(*trials.score_points(row), strict=True)
        panel.plot(steps, scores, **_line(trials, row))
    panel.set_xlabel("steps")
    panel.set_title("Score while a trial trains")
    score_axis(panel.yaxis, trials.metric)
    if trials.scored:
        panel.legend(frameon=False)
    return figure


def over_epsilon(trials: Trials) -> Figure:
    """Draw the last score of each trial over the ε that it would have by itself, beside the ε that is reported."""
    figure, (panel,) = new_figure()
    rows = [row for row in trials.scored if row.epsilon is not None and math.isfinite(row.epsilon)]
    for row in rows:
        look = _line(trials, row)
        panel.scatter([row.epsilon or 0.0], [_last(row)], color=look["color"], label=look.get("label"), zorder=3)
    if math.isfinite(trials.epsilon):
        panel.axvline(trials.epsilon, color=BEST, linestyle=":", label="ε of the whole sweep, which is reported")
    panel.set_xlim(left=0)
    panel.set_xlabel("ε of the trial if it were the only release" + _at(trials))
    panel.set_title("Score against privacy")
    score_axis(panel.yaxis, trials.metric)
    if rows:
        panel.legend(frameon=False)
    return figure


def _last(row: Any) -> float:
    return row.scores[-1]


def _line(trials: Trials, row: Any) -> dict[str, Any]:
    if trials.is_best(row):
        return {"color": BEST, "linewidth": 2.4, "zorder": 4, "marker": "o", "label": f"trial {row.number}, the best"}
    return {"color": COLORS[row.state], "linewidth": 1.2, "alpha": 0.7, "marker": "o", "markersize": 3}


def _at(trials: Trials) -> str:
    return "" if trials.delta is None else f", at δ = {trials.delta:g}"


def _whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))
