"""What `dpzo plan` does: the facts at once, and then what takes the accountant longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from orchestrator.cli.output import Format, print_result, progress_console
from orchestrator.cli.views.outlook import outlook_summary
from orchestrator.cli.views.plan_plot import require_plottable, save_plot
from orchestrator.cli.views.summary import plan_summary, warnings_of
from orchestrator.planning.alternatives import Outlook, compare_alternatives
from orchestrator.planning.plan import Plan, finite_or_none


def show_plan(make: Callable[[], Plan], output: Format, within: float | None, plot: Path | None, brief: bool) -> None:
    """Make a plan and print it, alone or with its outlook; write the plot if a file is named.

    Raises:
        ValueError: options that contradict each other or the configuration.
    """
    if brief and (within is not None or plot is not None):
        raise ValueError("--brief leaves out what --within and --plot ask for: give one or the other")
    if plot is not None:
        require_plottable(plot)
    made = make()
    wanted = not brief and (made.rule is not None or within is not None or plot is not None)
    if output is Format.TEXT:
        print_result(output, str, lambda _: plan_summary(made))
    outlook = None
    if wanted:
        with progress_console().status("every rule side by side; --brief leaves this out"):
            outlook = compare_alternatives(made, within)
            if plot is not None:
                save_plot(made, outlook, plot)
    if output is Format.JSON:
        print_result(output, lambda: plan_json(made, outlook), lambda _: "")
    elif outlook is not None:
        found = outlook
        print_result(output, str, lambda _: "")
        print_result(output, str, lambda _: outlook_summary(found, made))


def plan_json(made: Plan, outlook: Outlook | None = None) -> str:
    """Return a plan as JSON; an infinite epsilon is null."""
    values: dict[str, Any] = {
        "name": made.config.name,
        "private": made.rule is not None,
        "epsilon": finite_or_none(made.epsilon),
        "delta": made.config.privacy.delta,
        "trial_epsilon": finite_or_none(made.trial_epsilon),
        "num_trials": made.num_trials,
        "rule": made.rule.to_json() if made.rule else None,
        "caps": made.caps.model_dump() if made.caps else None,
        "forward_passes": made.estimate.forward_passes,
        "examples_forwarded": made.estimate.examples_forwarded,
        "estimated_seconds": made.estimate.seconds,
        "warnings": warnings_of(made),
        "outlook": outlook,
    }
    return to_json(values, indent=2, inf_nan_mode="null").decode() + "\n"
