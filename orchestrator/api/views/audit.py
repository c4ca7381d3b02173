"""The result of an audit on a terminal, and the plot of the measured rates and the claimed curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.text import Text

from orchestrator.api.views.tables import plain_table, right
from orchestrator.planning.facts import duration
from orchestrator.privacy.display import epsilon_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from orchestrator.checks.audit.result import AuditResult, CaseResult, Point

_WIDTH = 100  # characters: longer lines are hard to read
_COLUMNS = 2  # panels of the plot beside each other
_EVERY = 3  # every third measured point is drawn, so that their boxes stay apart
_CLAIM, _MEASURED, _DECISIVE, _FORBIDDEN = "#1b4f8f", "#d98b1f", "#7a1fa2", "#f6d6d6"


def audit_summary(result: AuditResult) -> RenderableType:
    """Return one row a case, the meaning of the columns, the runs that were made, warnings, and the verdict."""
    table = plain_table("method", *right("claimed ε", "shift", "noise"), "f-DP", *right("ε ≥", "power"))
    for case in result.cases:
        table.add_row(*_cells(case))
    model = result.model
    paragraphs = [
        "shift: the most that one example moved a sum, divided by the bound. noise: the measured scale divided by the "
        "declared one. f-DP: whether guesses that an example (the canary) took part break the claimed curve. ε ≥: the "
        "lower bound on ε from the same guesses. power: how often they find noise at 0.8 of the claimed.",
        *dict.fromkeys(_setting(case) for case in result.cases),
        f"On a random Llama of {model.parameters:,} parameters with the transformers evaluator, one example moved a "
        f"sum by at most {model.largest_shift:.4f} C (rounding in the model may add {model.rounding:.1g} C).",
        "\n".join(f"{extra.title}: {extra.detail}." for extra in result.extras),
        *(_warning(case) for case in result.cases if case.membership.weak),
    ]
    return Constrain(
        Group(table, Text(), Text("\n\n".join(filter(None, paragraphs))), Text(), _verdict(result)), _WIDTH
    )


def save_plot(result: AuditResult, path: Path) -> None:
    """Write the claimed curve and the measured rates of each case, one panel each, into a PNG or SVG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no window, no global state
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(result.cases))
    rows = -(-len(result.cases) // columns)
    figure = Figure(figsize=(5.4 * columns, 4.6 * rows + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, case in zip(panels, result.cases, strict=False):
        _draw(panel, case)
    for panel in panels[len(result.cases) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)


def _draw(panel: Axes, case: CaseResult) -> None:
    membership = case.membership
    claimed_fpr, claimed_fnr = zip(*membership.claimed, strict=True)
    panel.fill_between(claimed_fpr, claimed_fnr, color=_FORBIDDEN, label="breaks the claim")
    panel.plot([0, 1], [1, 0], color="0.7", linewidth=0.8, linestyle=":", label="random guesses")
    panel.plot(claimed_fpr, claimed_fnr, color=_CLAIM, linewidth=1.8, label="the claim: no guess is better")
    for number, point in enumerate(membership.measured[1::_EVERY]):
        _box(panel, point, _MEASURED, "measured, with 95 % bounds" if number == 0 else None)
    _box(panel, membership.decided_at, _DECISIVE, "decisive: its upper right corner is compared")
    verdict = "VIOLATION" if case.violations else "no violation found"
    panel.set_title(
        f"{case.title}, {_promise(case)}\n{verdict}", fontsize=11, color="#a01818" if case.violations else "black"
    )
    panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    panel.set_xlabel("false positives: absent, guessed present")
    panel.set_ylabel("false negatives: present, guessed absent")


def _box(panel: Axes, point: Point, color: str, label: str | None) -> None:
    """Draw a measured pair of rates and the box of its bounds."""
    from matplotlib.patches import Rectangle

    width, height = point.fpr_upper - point.fpr_lower, point.fnr_upper - point.fnr_lower
    corner = (point.fpr_lower, point.fnr_lower)
    panel.add_patch(Rectangle(corner, width, height, facecolor=color, edgecolor=color, alpha=0.35, zorder=3))
    panel.plot([point.fpr], [point.fnr], color=color, marker="o", markersize=3.5, linestyle="", label=label, zorder=4)


def _cells(case: CaseResult) -> tuple[str | Text, ...]:
    membership = case.membership
    verdict = Text("violation", style="bold red") if membership.findings else Text("not broken", style="green")
    return (
        case.title,
        epsilon_text(case.epsilon),
        _marked(f"{case.replay.largest_shift:.3f}", case.replay.findings),
        _marked(f"{case.residuals.scale_ratio:.3f}", case.residuals.findings),
        verdict,
        f"{membership.epsilon_lower:.2f}",
        f"{membership.power:.0%}",
    )


def _marked(text: str, findings: list[str]) -> Text:
    return Text(f"{text} ✗", style="bold red") if findings else Text(f"{text} ✓", style="green")


def _promise(case: CaseResult) -> str:
    return f"ε = {epsilon_text(case.epsilon)}" + (f" at δ = {case.delta:g}" if case.delta else ", pure")


def _setting(case: CaseResult) -> str:
    steps = f"{case.num_steps} steps"
    if case.num_steps < case.planned_steps:
        steps += f" of the {case.planned_steps} planned (the claimed ε is that of {case.num_steps})"
    return (
        f"Runs: {case.membership.runs:,} without and {case.membership.runs:,} with the canary, q = "
        f"{case.sampling_prob:.4g}{_measured(case)}, σ = {case.noise_multiplier:.4g}, {steps}, δ = {case.delta:g}, "
        f"{case.adjacency}; with the real step, sampler, clip, noise and log, on the losses of a stub; "
        f"{case.residuals.values:,} residuals of the noise."
    )


def _measured(case: CaseResult) -> str:
    ratio = case.residuals.sampling_ratio
    return "" if ratio is None else f" (measured × {ratio:.3f})"


def _warning(case: CaseResult) -> str:
    found = ", ".join(f"{fault} {power:.0%}" for fault, power in case.membership.powers.items())
    return (
        f"{case.title}: weak. Guesses from {case.membership.runs:,} runs find a fault only so often: {found}. Raise "
        "--runs, or audit a larger q and a smaller σ."
    )


def _verdict(result: AuditResult) -> Text:
    if not result.violations:
        weak = ", ".join(case.title for case in result.cases if case.membership.weak)
        lines = [f"No violation found in {duration(result.seconds)}{f'; weak: {weak}' if weak else ''}."]
    else:
        lines = ["VIOLATION", *(f"- {finding}" for finding in result.violations)]
    return Text("\n".join([*lines, result.honesty]), style="bold red" if result.violations else "")
