"""The plot of a plan: total ε against the number of trials under every rule, with the plan and the limit marked."""

from __future__ import annotations

import io
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.models import SweepConfig
from orchestrator.planning.alternatives import Curves, Outlook
from orchestrator.privacy.display import epsilon_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from orchestrator.planning.rules.base import Plan

ENDINGS = (".png", ".svg")
_COLORS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d", "#8c6d31")  # colour-blind safe
_STYLES = ("-", "--", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)), "-", "--")
_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}  # keeps a label readable over curves


@cache
def shown_figure() -> type[Figure]:
    """Return the class of figures that a notebook shows by themselves; matplotlib is loaded here."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure with a picture for notebooks."""

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png", dpi=90)
            return picture.getvalue()

    return ShownFigure


def require_plottable(path: Path) -> None:
    """Raise ValueError for a file that is neither PNG nor SVG, before anything is computed."""
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"--plot {path}: a plot is a {' or '.join(ENDINGS)} file")


def save_plot(plan: Plan, outlook: Outlook, path: Path) -> None:
    """Draw the curves of a plan into a PNG or SVG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plan_figure(plan, outlook).savefig(path, dpi=150)


def plan_figure(plan: Plan, outlook: Outlook) -> Figure:
    """Return the curves of a plan as a figure."""
    details = outlook.details
    curves = details.curves(plan)
    figure = shown_figure()(figsize=(8.5, 5.0), layout="constrained")
    panel = figure.subplots()
    for (name, values), style, color in zip(curves.epsilon.items(), _STYLES, _COLORS, strict=False):
        shown = [math.nan if value is None else value for value in values]
        width = 2.4 if outlook.chosen in name.split(" = ") else 1.4
        panel.plot(curves.num_trials, shown, linestyle=style, color=color, linewidth=width, label=name)
    _mark(panel, plan, outlook)
    figure.legend(loc="outside right upper", frameon=False)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_xlim(curves.num_trials[0], curves.num_trials[-1])
    panel.set_ylim(0, _top(curves, plan, outlook))
    unit = f"trials{details.trials_note}" if isinstance(plan.config, SweepConfig) else "such runs"
    panel.set_xlabel(f"number of {unit}")
    panel.set_ylabel(f"total ε at δ = {plan.config.privacy.delta:g}")
    panel.set_title(f"{plan.config.name}: {details.plot_title}")
    panel.grid(visible=True, which="major", color="0.9")
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def _top(curves: Curves, plan: Plan, outlook: Outlook) -> float:
    """Return the end of the ε axis: three times the plan's ε or the limit, or the highest curve if that is less."""
    marked = [plan.epsilon, *([outlook.limit] if outlook.limit else [])]
    finite = [value for values in curves.epsilon.values() for value in values if value is not None]
    return 1.05 * max(min(max(finite), 3 * max(marked)), *marked)


def _mark(panel: Axes, plan: Plan, outlook: Outlook) -> None:
    """Mark the plan and draw the limit."""
    if outlook.limit is not None:
        panel.axhline(outlook.limit, color="0.35", linewidth=1, linestyle=":")
        panel.annotate(
            f"limit ε = {outlook.limit:g}", (0.01, outlook.limit), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", color="0.35",
            bbox=_LABEL_BOX,
        )  # fmt: skip
    if outlook.details.marks_plan:
        panel.plot([plan.num_trials], [plan.epsilon], marker="o", markersize=8, color="black", zorder=5)
        panel.annotate(
            f"this plan: {plan.num_trials}, ε = {epsilon_text(plan.epsilon)}", (plan.num_trials, plan.epsilon),
            xytext=(-8, 10), textcoords="offset points", horizontalalignment="right", weight="bold", zorder=6,
            bbox=_LABEL_BOX,
        )  # fmt: skip
