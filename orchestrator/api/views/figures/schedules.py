"""What each trial used at each step: learning rate, smoothing and clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.api.views.figures.style import BEST, COLORS, new_figure
from orchestrator.api.views.figures.trials import Trials
from orchestrator.api.views.points import method_of, schedule_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = {"learning_rate": "learning rate η", "smoothing": "smoothing λ", "clip_norm": "clip norm C"}


def schedules(trials: Trials) -> Figure:
    """Draw the schedules of all trials, one panel a setting; the best trial stands out."""
    names = trials.config.method.scheduled
    figure, panels = new_figure(max(1, len(names)), height=3.0)
    for name, panel in zip(names, panels, strict=False):
        values = []
        for row in trials.rows:
            best = trials.is_best(row)
            steps, heights = zip(*schedule_points(method_of(row, trials.config), name), strict=True)
            values += heights
            style = (
                {"color": BEST, "linewidth": 2.4, "zorder": 4} if best else {"color": COLORS[row.state], "alpha": 0.6}
            )
            panel.plot(steps, heights, **style)
        if values and min(values) > 0:
            panel.set_yscale("log")
        panel.set_title(SYMBOLS[name])
        panel.set_xlabel("step")
    return figure
