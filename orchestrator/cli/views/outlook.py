"""The alternatives of a plan on a terminal: the ε of every rule, what fits the limit, and what the budget has left."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from orchestrator.budget.forecast import BudgetOutlook
from orchestrator.budget.view import Left
from orchestrator.cli.views.tables import epsilon_text, facts_table, plain_table, right, rounded_down
from orchestrator.planning.alternatives import Outlook
from orchestrator.planning.menu_and_filter import FilterOutlook, MenuOutlook
from orchestrator.planning.plan import Plan
from orchestrator.privacy.rules.comparison import COMPARED, MOST, RuleCost

_SCORES = "evaluations_per_trial"


def outlook_summary(outlook: Outlook, plan: Plan) -> RenderableType:
    """Return the tables for the rule that counts the plan, and the facts of its budget."""
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
    """Return one row a rule: its ε and what fits the limit; an arrow marks the rule that counts the plan."""
    scored = plan.caps is not None and plan.caps.evaluations_per_trial > 0
    counted = [name for name in MOST if scored or name != _SCORES] if outlook.limit is not None else []
    titles = {"num_trials": "trials", "steps_per_trial": "steps", _SCORES: "scores"}
    epsilon_column = Column("total ε", justify="right", no_wrap=True)
    numbers = right(*(titles[name] for name in counted))
    table = plain_table(Column("rule", no_wrap=True), epsilon_column, *numbers, Column(style="dim", no_wrap=True))
    for row in outlook.rules:
        chosen = row.rule == outlook.chosen
        counts = [_count(row, name) for name in counted]
        epsilon = "–" if row.epsilon is None else epsilon_text(row.epsilon)
        table.add_row(
            f"{'→' if chosen else ' '} {row.rule}", epsilon, *counts, COMPARED[row.rule].label, style=_style(chosen)
        )
    return table


def budget_facts(budget: BudgetOutlook) -> RenderableType:
    """Return what the budget has left before the plan and after it."""
    if budget.terms is None:
        advice = "its ledger is not there yet; `dpzo budget create` makes both"
        return facts_table([(f"budget {budget.name}", advice)])
    facts = [(f"budget {budget.name}", "without a limit" if budget.left is None else f"{_left(budget.left)} left")]
    if budget.reserved_already:
        facts.append(("this plan", "is reserved already; nothing more is charged"))
    elif budget.refusal is not None:
        facts.append(("does not fit", budget.refusal))
    elif budget.asked_epsilon is not None:
        reused = f", {budget.reused:,} tokens left over from before are free" if budget.reused else ""
        facts.append(("this plan", f"takes ε = {epsilon_text(budget.asked_epsilon)}{reused}"))
        if budget.after is not None:
            facts.append(("then", f"{_left(budget.after)} left"))
    return facts_table(facts)


def _rules_title(outlook: Outlook, plan: Plan) -> str:
    what = f"these {plan.num_trials} trials" if plan.num_trials > 1 else "this run"
    if outlook.limit is None:
        return f"ε of {what} under every rule (--within EPSILON shows what would fit)"
    return f"ε of {what} under every rule, and the most trials, or steps of each, within ε = {outlook.limit:g}"


def _style(chosen: bool) -> str:
    return "bold" if chosen else ""


def _count(row: RuleCost, name: str) -> str:
    count: int | None = getattr(row, name)
    if count is None:
        free = name not in COMPARED[row.rule].counted
        return "–" if row.epsilon is None or free else "none"
    return f"{count:,}" + ("+" if count >= MOST[name] else "")


def _menu_parts(menu: MenuOutlook, plan: Plan, limit: float | None) -> list[RenderableType]:
    entries = plain_table(*right("entry", "σ", "B", "T", "ε of one trial"))
    for number, entry in enumerate(menu.entries):
        numbers = (f"{entry.noise_multiplier:.4g}", f"{entry.expected_batch_size:g}", f"{entry.num_steps:,}")
        entries.add_row(str(number), *numbers, epsilon_text(entry.epsilon))
    totals = plain_table(*right("  trials", "total ε"))
    for number, total in menu.totals:
        chosen = number == plan.num_trials
        totals.add_row(f"{'→' if chosen else ' '} {number:,}", epsilon_text(total), style=_style(chosen))
    parts: list[RenderableType] = [entries, Text(), totals]
    if limit is not None:
        fitting = "none" if menu.num_trials is None else f"{menu.num_trials:,}"
        parts += [Text(), facts_table([("trials that fit", f"{fitting} within ε = {limit:g}")])]
    return parts


def _filter_parts(filtered: FilterOutlook, limit: float | None) -> list[RenderableType]:
    best = filtered.suggested_order
    facts = [
        ("Rényi budget", f"{rounded_down(filtered.capacity)} at order {filtered.order:g}, for ε = {limit:g}"),
        ("order", f"order {best:g} would fit the most trials" if best != filtered.order else "fits the most trials"),
    ]
    table = plain_table(*right("σ", "B", "T", "a step", "a score", "steps that fit", "trials"))
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
    title = "Rényi ε" + (" of the dearest and of the cheapest trial" if len(filtered.prices) > 1 else " of a trial")
    return [facts_table(facts), Text(), Text(title, style="italic"), table]


def _left(left: Left) -> str:
    if left.renyi is not None:
        return f"Rényi ε {rounded_down(left.renyi)}"
    assert left.epsilon is not None
    assert left.delta is not None
    return f"ε = {rounded_down(left.epsilon)}, δ = {rounded_down(left.delta)}"
