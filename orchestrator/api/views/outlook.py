"""The alternatives of a plan on a terminal: what its rule tells, and what the budget has left."""

from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from orchestrator.api.views.tables import facts_table, plain_table
from orchestrator.budget.forecast import BudgetOutlook
from orchestrator.budget.view import Left
from orchestrator.planning.alternatives import Facts, Outlook, TextTable
from orchestrator.planning.plan import Plan
from orchestrator.privacy.display import epsilon_text, rounded_down


def outlook_summary(outlook: Outlook, plan: Plan, budget: BudgetOutlook | None) -> RenderableType:
    """Return the tables and facts of the plan's rule, and the facts of its budget where it names one."""
    shown: list[RenderableType] = []
    for part in outlook.details.parts(plan, outlook.limit):
        shown += [Text(), facts_table(part.rows) if isinstance(part, Facts) else _table(part)]
    if budget is not None:
        shown += [Text(), budget_facts(budget)]
    return Group(*shown[1:])


def _table(part: TextTable) -> RenderableType:
    """Return a table under its title; an arrow marks the plan's own row."""
    columns = []
    for number, header in enumerate(part.header):
        words = number < part.num_labels or not header
        style = None if header else "dim"
        columns.append(Column(header, justify="left" if words else "right", no_wrap=words, style=style or ""))
    table = plain_table(*columns)
    for number, (first, *others) in enumerate(part.rows):
        mark = "" if part.chosen is None else "→ " if number == part.chosen else "  "
        table.add_row(f"{mark}{first}", *others, style="bold" if number == part.chosen else "")
    return Group(Text(part.title, style="italic"), table) if part.title else table


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


def _left(left: Left) -> str:
    if left.renyi is not None:
        return f"Rényi ε {rounded_down(left.renyi)}"
    assert left.epsilon is not None
    assert left.delta is not None
    return f"ε = {rounded_down(left.epsilon)}, δ = {rounded_down(left.delta)}"
