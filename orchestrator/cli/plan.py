"""`dpzo plan`: the plan at once, and then what its alternatives would cost, which takes the accountant longer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from orchestrator.api.runs import plan
from orchestrator.api.views.console import progress_console
from orchestrator.api.views.outlook import outlook_summary
from orchestrator.api.views.summary import plan_summary
from orchestrator.budget.expected_trials import expected_trials
from orchestrator.budget.forecast import BudgetOutlook, budget_outlook
from orchestrator.cli.output import Format, print_result, print_text
from orchestrator.planning.alternatives import Outlook, compare_alternatives
from orchestrator.planning.plan import Plan
from orchestrator.planning.plot import require_plottable, save_plot


def show_plan(
    config: Path, overrides: Sequence[str], output: Format, within: float | None, plot: Path | None, brief: bool
) -> None:
    """Print the plan of a configuration and, unless `brief`, its alternatives; write the plot if a file is named.

    Raises:
        ValueError: options that contradict each other or the configuration.
    """
    if brief and (within is not None or plot is not None):
        raise ValueError("--brief leaves out what --within and --plot ask for: give one or the other")
    if plot is not None:
        require_plottable(plot)
    made = plan(config, overrides)
    compares = not brief and (made.rule is not None or within is not None or plot is not None)
    if output is Format.TEXT:
        print_text(plan_summary(made))
    outlook = budget = None
    if compares:
        with progress_console().status("computing the ε of every rule; --brief leaves this out"):
            budget = budget_outlook(made)
            outlook = compare_alternatives(made, within)
            if plot is not None:
                save_plot(made, outlook, plot)
    if output is Format.JSON:
        print_result(output, plan_values(made, outlook, budget), "")
    elif outlook is not None:
        print_text(Group(Text(), outlook_summary(outlook, made, budget)))


def plan_values(made: Plan, outlook: Outlook | None = None, budget: BudgetOutlook | None = None) -> dict[str, Any]:
    """Return the values of a plan and of its alternatives that its JSON holds."""
    expected = expected_trials(made)
    found = made.to_dict() | ({} if expected is None else {"expected_trials": expected._asdict()})
    return found | {"outlook": None if outlook is None else outlook.to_json() | {"budget": budget}}
