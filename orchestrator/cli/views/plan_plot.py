"""The plot of a plan: total ε against the number of trials under every rule, with the plan and the limit marked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.models import SweepConfig
from orchestrator.planning.alternatives import Curves, Outlook
from orchestrator.planning.plan import Plan
from orchestrator.privacy.display import epsilon_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = (".png", ".svg")
_COLORS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d", "#8c6d31")  # colour-blind safe
_STYLES = ("-", "--", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)), "-", "--")
_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}  # keeps a label readable over curves
_LEAST_GAP = 0.045  # between two labels, as a share of the axis


def require_plottable(path: Path) -> None:
    """Raise ValueError for a file that is neither PNG nor SVG, before anything is computed."""
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"--plot {path}: a plot is a {' or '.join(ENDINGS)} file")


def save_plot(plan: Plan, outlook: Outlook, path: Path) -> None:
    """Draw the curves of a plan into a PNG or SVG file."""
    from matplotlib.figure import Figure

    details = outlook.details
    curves = details.curves(plan)
    figure = Figure(figsize=(8.5, 5.0))
    figure.subplots_adjust(left=0.08, right=0.81, bottom=0.11, top=0.92)
    panel = figure.subplots()
    top = _top(curves, plan, outlook)
    for number, (name, values) in enumerate(curves.epsilon.items()):
        shown = [math.nan if value is None else value for value in values]
        chosen = outlook.chosen in name.split(" = ")
        style, color = _STYLES[number % len(_STYLES)], _COLORS[number % len(_COLORS)]
        panel.plot(
            curves.num_trials,
            shown,
            linestyle=style,
            color=color,
            linewidth=2.4 if chosen else 1.4,
            zorder=3 if chosen else 2,
        )
    _label_curves(panel, curves, top, outlook.chosen)
    _mark(panel, plan, outlook)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_xlim(curves.num_trials[0], curves.num_trials[-1])
    panel.set_ylim(0, top)
    unit = f"trials{details.trials_note}" if isinstance(plan.config, SweepConfig) else "such runs"
    panel.set_xlabel(f"number of {unit}")
    panel.set_ylabel(f"total ε at δ = {plan.config.privacy.delta:g}")
    panel.set_title(f"{plan.config.name}: {details.plot_title}")
    panel.grid(visible=True, which="major", color="0.9")
    panel.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


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


def _label_curves(panel: Axes, curves: Curves, top: float, chosen: str | None) -> None:
    """Write each curve's name at its end, on the right or at the top, with room between names."""
    ends = []
    for number, (name, values) in enumerate(curves.epsilon.items()):
        last = next((value for value in reversed(values) if value is not None), 0.0)
        ends.append((min(last, top) / top, last, name, _COLORS[number % len(_COLORS)]))
    height = math.inf
    for share, last, name, color in sorted(ends, key=lambda end: end[:2], reverse=True):
        height = min(share, height - _LEAST_GAP)
        panel.annotate(
            f"{name} ↑" if last > top else name, (1.01, height), xycoords="axes fraction", color=color,
            verticalalignment="center",
            weight="bold" if chosen in name.split(" = ") else "normal", annotation_clip=False,
        )  # fmt: skip
