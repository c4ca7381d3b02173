"""Budgets on a terminal: what is left, their reservations, their history, and whether the ledger adds up.

Spent amounts are rounded up and what is left is rounded down: no budget looks better than it is.
"""

import math
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from orchestrator.api.views.tables import facts_table, folded, plain_table, right
from orchestrator.budget.verification import Recomputed
from orchestrator.budget.view import BudgetView, Drawn
from orchestrator.privacy.display import epsilon_text, rounded_down
from orchestrator.privacy.ledger.budget import BudgetTerms
from orchestrator.privacy.ledger.history import HistoryRow
from orchestrator.privacy.rules.renyi_filter import RENYI_UNITS, UNITS


def budgets_table(views: Sequence[BudgetView]) -> RenderableType:
    """Return one row of two lines for each budget: what it counts, what is reserved, its limit and what is left."""
    numbers = right("reserved", "limit", "left", "δ", "drawn")
    table = plain_table(folded("budget", 20), Column("counts", no_wrap=True), *numbers)
    for view in views:
        table.add_row(*_budget_row(view))
    return table


def budget_summary(view: BudgetView) -> RenderableType:
    """Return the row of a budget and the table of its reservations."""
    return Group(budgets_table([view]), Text(), reservations_table(view))


def reservations_table(view: BudgetView) -> RenderableType:
    """Return one row a reservation; drawn tokens are secret where the number of trials is."""
    if not view.reservations:
        return Text("Nothing is reserved yet.")
    renyi = view.terms.order is not None
    numbers = right("Rényi ε" if renyi else "ε", "δ")
    table = plain_table(folded("reservation", 24), "rule", *numbers, "state", "tokens drawn of cap")
    for one in view.reservations:
        amount = one.renyi if renyi else one.epsilon
        state = Text("closed") if one.closed else Text("reserved", style="cyan")
        tokens = Text("\n".join(map(_drawn_text, one.tokens)))
        table.add_row(Text(one.name), one.rule, _spent_text(amount), f"{one.delta:g}", state, tokens)
    return table


def history_table(rows: Sequence[HistoryRow]) -> RenderableType:
    """Return the entries of a budget's history, oldest first."""
    table = plain_table(Column("when (UTC)", no_wrap=True), "what", folded("reservation", 22), *right("ε"), "tokens")
    for row in rows:
        epsilon = "no limit" if row.entry == "created" and row.epsilon is None else _spent_text(row.epsilon)
        when = row.made_at[:16].replace("T", " ")  # a time in ledgers of earlier versions
        table.add_row(when, row.entry, Text(row.name or ""), epsilon, Text(_tokens(row.tokens or {})))
    return table


def verified_table(verified: Sequence[Recomputed]) -> RenderableType:
    """Return one row a reservation: the ε that was charged and the ε that was recomputed."""
    texts = [Column(header, overflow="fold") for header in ("", "reservation", "rule")]
    table = plain_table(*texts, *right("ε charged", "recomputed"))
    for one in verified:
        mark = Text("✓", style="green") if one.problem is None else Text("✗", style="bold red")
        table.add_row(mark, Text(one.name), one.rule, _full_text(one.charged), _full_text(one.recomputed))
    return table


def created_summary(terms: BudgetTerms, place: str, suggested: bool) -> RenderableType:
    """Return the terms of a new budget."""
    limit = "none: spending is only counted" if terms.epsilon is None else f"ε = {terms.epsilon:g}"
    facts = [
        ("budget", terms.name),
        ("limit", limit if terms.epsilon is None else f"{limit} at δ = {terms.delta:g}"),
        ("counts", f"{terms.num_units:,} {terms.unit}s, {terms.adjacency}"),
        ("costs add up", _composition(terms) + (" (suggested; fixed from now on)" if suggested else "")),
        ("ledger", place),
    ]
    if terms.delta * terms.num_units >= 1:
        facts.append(("warning", f"δ ≥ 1 / num_{terms.unit}s: publishing one {terms.unit} at random satisfies it"))
    return facts_table(facts)


def _budget_row(view: BudgetView) -> tuple[RenderableType, ...]:
    terms, spent, left = view.terms, view.spent, view.left
    counts = _lines(f"{terms.num_units:,} {terms.unit}s", terms.adjacency)
    num = len(view.reservations)
    drawn = _lines("–" if view.share is None else f"{view.share:.0%}", f"of {num}")
    name = _lines(terms.name, _composition(terms))
    delta = f"{terms.delta:g}" if terms.epsilon is not None else "–"
    if terms.renyi_limit is not None and left is not None and left.renyi is not None:
        assert terms.epsilon is not None
        reserved = _lines(f"Rényi {_spent_text(spent.renyi)}", f"ε {_spent_text(view.epsilon_so_far)}")
        limit = _lines(rounded_down(terms.renyi_limit), f"ε {terms.epsilon:g}")
        return name, counts, reserved, limit, rounded_down(left.renyi), delta, drawn
    limit = "none" if terms.epsilon is None else f"{terms.epsilon:g}"
    rest = "–" if left is None or left.epsilon is None else rounded_down(left.epsilon)
    return name, counts, _lines(f"ε {_spent_text(spent.epsilon)}", f"δ {spent.delta:g}"), limit, rest, delta, drawn


def _lines(first: str, second: str) -> Text:
    return Text.assemble(first, "\n", (second, "dim"))


def _composition(terms: BudgetTerms) -> str:
    return "sum of ε" if terms.order is None else f"Rényi, order {terms.order:g}"


def _drawn_text(tokens: Drawn) -> str:
    if tokens.kind == RENYI_UNITS:
        drawn = "secret" if tokens.drawn is None else f"{tokens.drawn / UNITS:.4g}"
        return f"Rényi ε {drawn} of {tokens.cap / UNITS:.4g}"
    drawn = "secret" if tokens.drawn is None else f"{tokens.drawn:,}"
    return f"{tokens.kind} {drawn} of {tokens.cap:,}"


def _tokens(tokens: Mapping[str, int]) -> str:
    return "\n".join(
        f"Rényi ε {count / UNITS:.4g}" if kind == RENYI_UNITS else f"{kind} {count:,}" for kind, count in tokens.items()
    )


def _spent_text(amount: float | None) -> str:
    return "" if amount is None else epsilon_text(amount)


def _full_text(epsilon: float | None) -> str:
    if epsilon is None:
        return "none"
    return "∞" if math.isinf(epsilon) else f"{epsilon:.7g}"
