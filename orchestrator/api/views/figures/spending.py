"""ε of each trial by itself, beside the one ε that the sweep reports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.api.views.figures.style import BEST, COLORS, empty, new_figure
from orchestrator.api.views.figures.trials import Trials
from orchestrator.privacy.display import epsilon_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def epsilon(trials: Trials) -> Figure:
    """Draw a bar for the ε of each trial if it were the only release, and a line for the ε of the sweep."""
    figure, (panel,) = new_figure()
    if not math.isfinite(trials.epsilon):
        empty(panel, "Not private: ε is infinite.")
        return figure
    rows = [row for row in trials.rows if row.epsilon is not None and math.isfinite(row.epsilon)]
    colors = [BEST if trials.is_best(row) else COLORS[row.state] for row in rows]
    panel.bar([str(row.number) for row in rows], [row.epsilon or 0.0 for row in rows], color=colors)
    panel.axhline(trials.epsilon, color=BEST, linestyle="--")
    at = "" if trials.delta is None else f" at δ = {trials.delta:g}"
    panel.annotate(
        f"reported for the whole sweep: ε = {epsilon_text(trials.epsilon)}{at}",
        (0.01, trials.epsilon),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4),
        textcoords="offset points",
        verticalalignment="top",
        weight="bold",
    )
    panel.set_ylim(0, 1.1 * trials.epsilon)
    panel.set_xlabel("trial")
    panel.set_ylabel("ε")
    panel.set_title("ε of each trial if it were the only release")
    return figure
