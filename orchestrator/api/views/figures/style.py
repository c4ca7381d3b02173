"""Colours, axes and labels that all figures share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.planning.plot import shown_figure
from trainers.config import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST, OTHER, STOPPED = "#d55e00", "#0072b2", "#8c8c8c"  # colour-blind safe; readable on white and on black
COLORS = {
    "complete": OTHER,
    "running": "#009e73",
    "interrupted": "#cc79a7",
    "stopped early": STOPPED,
    "failed": STOPPED,
}
WIDTH, HEIGHT = 7.0, 3.8  # inches


def new_figure(panels: int = 1, height: float = HEIGHT, **subplots: Any) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure with panels side by side; it belongs to no window."""
    figure = shown_figure()(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, **subplots)[0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(visible=True, which="major", alpha=0.3)
        panel.set_axisbelow(True)
    return figure, axes


def score_axis(axis: Any, metric: Metric) -> None:
    """Label an axis of scores: shares in per cent; losses are shown negated, so that more is better."""
    from matplotlib.ticker import PercentFormatter

    axis.set_label_text("−loss, nats" if metric == "loss" else metric)
    if metric != "loss":
        axis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=None))


def empty(panel: "Axes", why: str) -> None:
    """Write into a panel why nothing is drawn."""
    panel.text(0.5, 0.5, why, transform=panel.transAxes, horizontalalignment="center", wrap=True)
    panel.set_axis_off()
