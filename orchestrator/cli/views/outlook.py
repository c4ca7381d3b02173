"""The plan both ways on a terminal of 80 columns: every rule side by side, and what the budget has left."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.budget.forecast import BudgetOutlook
from orchestrator.budget.view import Left
from orchestrator.cli.views.budget import rounded_down
from orchestrator.cli.views.tables import epsilon_text, facts_table
from orchestrator.planning.alternatives import Outlook
from orchestrator.planning.menu_and_filter import FilterOutlook, MenuOutlook
from orchestrator.planning.plan import Plan
from orchestrator.privacy.rules.comparison import COMPARED, MOST, RuleCost

_SCORES = "evaluations_per_trial"


def outlook_summary(outlook: Outlook, plan: Plan) -> RenderableType:
    """Return the tables that suit the plan's way of counting."""
    parts: list[RenderableType] = []
    if outlook.rules:
        parts += [Text(_rules_title(outlook, plan), style="italic"), rules_table(outlook, plan)]
    if outlook.menu is not None:
        parts += _menu_parts(outlook.menu, plan, outlook.limit)
    if outlook.filter is not None:
        parts += _filter_parts(outlook.filter, outlook.limit)
    if outlook.budget is not None:
        parts += [Text(), budget_facts(outlook.budget)]
    return Group(*parts)


def rules_table(outlook: Outlook, plan: Plan) -> Table:
    """Return one row a rule: its ε, and what fits the limit; the rule that counts the plan is marked."""
    scored = plan.caps is not None and plan.caps.evaluations_per_trial > 0
    counted = [name for name in MOST if scored or name != _SCORES] if outlook.limit is not None else []
    titles = {"num_trials": "trials", "steps_per_trial": "steps", _SCORES: "scores"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rule", no_wrap=True)
    table.add_column("total ε", justify="right", no_wrap=True)
    for name in counted:
        table.add_column(titles[name], justify="right")
    table.add_column("", style="dim", no_wrap=True)
    for row in outlook.rules:
        chosen = row.rule == outlook.chosen
        counts = [_count(row, name) for name in counted]
        epsilon = "–" if row.epsilon is None else epsilon_text(row.epsilon)
        table.add_row(
            f"{'→' if chosen else ' '} {row.rule}", epsilon, *counts, COMPARED[row.rule].label, style=_style(chosen)
        )
    return table


def budget_facts(budget: BudgetOutlook) -> RenderableType:
    """Return what the budget has left before and after the plan."""
    if budget.terms is None:
        what = "its ledger is not there yet; `dpzo budget create` makes both"
        return facts_table([(f"budget {budget.name}", what)])
    facts = [(f"budget {budget.name}", "without a limit" if budget.left is None else f"{_left(budget.left)} left")]
    if budget.reserved_already:
        facts.append(("this plan", "is reserved already: nothing more is charged"))
    elif budget.refusal is not None:
        facts.append(("does not fit", budget.refusal))
    elif budget.asked_epsilon is not None:
        reused = f", {budget.reused:,} tokens left over from before are free" if budget.reused else ""
        facts.append(("this plan", f"takes ε = {epsilon_text(budget.asked_epsilon)}{reused}"))
        if budget.after is not None:
            facts.append(("then", f"{_left(budget.after)} left"))
    return facts_table(facts)


def _rules_title(outlook: Outlook, plan: Plan) -> str:
    what = f"These {plan.num_trials} trials" if plan.num_trials > 1 else "This run"
    if outlook.limit is None:
        return f"{what} (--within EPSILON tells what would fit)"
    return f"{what}; at most so many trials, or steps of each, fit ε = {outlook.limit:g}"


def _style(chosen: bool) -> str:
    return "bold" if chosen else ""


def _count(row: RuleCost, name: str) -> str:
    count: int | None = getattr(row, name)
    if count is None:
        free = name not in COMPARED[row.rule].counted
        return "–" if row.epsilon is None or free else "none"
    return f"{count:,}" + ("+" if count >= MOST[name] else "")


def _menu_parts(menu: MenuOutlook, plan: Plan, limit: float | None) -> list[RenderableType]:
    entries = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("entry", "σ", "B", "T", "ε of one trial"):
        entries.add_column(header, justify="right")
    for number, entry in enumerate(menu.entries):
        numbers = (f"{entry.noise_multiplier:.4g}", f"{entry.expected_batch_size:g}", f"{entry.num_steps:,}")
        entries.add_row(str(number), *numbers, epsilon_text(entry.epsilon))
    totals = Table(box=None, pad_edge=False, header_style="bold")
    totals.add_column("  trials", justify="right")
    totals.add_column("total ε", justify="right")
    for number, total in menu.totals:
        chosen = number == plan.num_trials
        totals.add_row(f"{'→' if chosen else ' '} {number:,}", epsilon_text(total), style=_style(chosen))
    parts: list[RenderableType] = [entries, Text(), totals]
    if limit is not None:
        found = "not even one" if menu.num_trials is None else f"{menu.num_trials:,}"
        parts += [Text(), facts_table([("trials that fit", f"{found} within ε = {limit:g}")])]
    return parts


def _filter_parts(filtered: FilterOutlook, limit: float | None) -> list[RenderableType]:
    better = filtered.suggested_order
    facts = [
        ("Rényi budget", f"{rounded_down(filtered.capacity)} at order {filtered.order:g}, for ε = {limit:g}"),
        ("order", f"{better:g} would suit these trials best" if better != filtered.order else "suits these trials"),
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("σ", "B", "T", "a step", "a score", "steps that fit", "trials"):
        table.add_column(header, justify="right")
    for price in filtered.prices:
        table.add_row(
            f"{price.noise_multiplier:.4g}",
            f"{price.expected_batch_size:g}",
            f"{price.num_steps:,}",
            f"{price.step:.3g}",
            "–" if price.score is None else f"{price.score:.3g}",
            f"{price.steps_that_fit:,}",
            f"{price.trials_that_fit:,}",
        )
    title = "Prices in Rényi ε" + (", of the dearest and the cheapest trial" if len(filtered.prices) > 1 else "")
    return [facts_table(facts), Text(), Text(title, style="italic"), table]


def _left(left: Left) -> str:
    if left.renyi is not None:
        return f"Rényi ε {rounded_down(left.renyi)}"
    assert left.epsilon is not None
    assert left.delta is not None
    return f"ε = {rounded_down(left.epsilon)}, δ = {rounded_down(left.delta)}"
