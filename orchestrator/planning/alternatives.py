"""The plan both ways: what it would cost under every rule, and how many trials, steps and scores fit a given ε.

Nothing here reads a private row. It takes seconds, and so belongs to `dpzo plan` alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.budget.forecast import BudgetOutlook, budget_outlook
from orchestrator.config.models import SweepConfig
from orchestrator.planning.menu_and_filter import FilterOutlook, MenuOutlook, filter_outlook, menu_outlook
from orchestrator.planning.plan import Plan
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.comparison import RULE_NAMES, RuleCost, compare
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.renyi_filter import RenyiFilter


@dataclass(frozen=True)
class Outlook:
    """What a plan could be.

    Args:
        limit: the ε that has to fit, None where none is given.
        rules: the plan under every rule; empty under a menu or a filter.
        chosen: the rule that counts this plan; None where the comparison has no row for it.
        menu: where trials choose from a menu.
        filter: where prices add up at one Rényi order.
        budget: what the named budget has left; None where none is named.
    """

    limit: float | None
    rules: tuple[RuleCost, ...] = ()
    chosen: str | None = None
    menu: MenuOutlook | None = None
    filter: FilterOutlook | None = None
    budget: BudgetOutlook | None = None


def compare_alternatives(plan: Plan, within: float | None = None) -> Outlook:
    """Return what a private plan would cost under every rule, and what fits `within` (privacy.epsilon when None).

    Raises:
        ValueError: the plan has no privacy, or `within` is not above 0.
    """
    if plan.rule is None:
        raise ValueError("this method has no privacy (ε = ∞): there are no rules to compare, and nothing fits an ε")
    if within is not None and not 0 < within < math.inf:
        raise ValueError(f"--within is an ε above 0; got {within:g}")
    limit = plan.config.privacy.epsilon if within is None else within
    budget = budget_outlook(plan)
    if isinstance(plan.rule, Menu):
        return Outlook(limit, chosen="menu", menu=menu_outlook(plan, plan.rule, limit), budget=budget)
    if isinstance(plan.rule, RenyiFilter):
        return Outlook(limit, chosen="filter", filter=filter_outlook(plan, plan.rule, limit), budget=budget)
    chosen = rule_name_of(plan)
    return Outlook(limit, _rules(plan, chosen, limit), chosen, budget=budget)


def rule_name_of(plan: Plan) -> str | None:
    """Return the comparison's name of the rule that counts a plan with caps; None for the negative binomial law."""
    if isinstance(plan.rule, BestOf):
        return next((name for name in RULE_NAMES if name == f"best, {plan.rule.number.law}"), None)
    if isinstance(plan.config, SweepConfig) and plan.config.search.tune_on is not None:
        return "public tuning"
    return "disjoint" if plan.caps is not None and plan.caps.disjoint else "caps"


def plan_for_comparison(plan: Plan) -> PlannedSweep:
    """Return the trials that are compared: with public tuning, what they would be on private data."""
    assert plan.caps is not None
    return plan.caps.changed(num_trials=plan.num_trials)


def applicable_rules(plan: Plan) -> tuple[str, ...]:
    """Return the rules that make sense for a plan: all for a sweep, its own for a single run."""
    if isinstance(plan.config, SweepConfig):
        return RULE_NAMES
    return ("disjoint",) if plan.caps is not None and plan.caps.disjoint else ("caps",)


def _rules(plan: Plan, chosen: str | None, limit: float | None) -> tuple[RuleCost, ...]:
    privacy = plan.config.privacy
    rows = compare(
        plan_for_comparison(plan), privacy.delta, limit, privacy.adjacency, applicable_rules(plan), own=chosen
    )
    for row in rows:
        if row.rule == chosen:
            assert row.epsilon is not None
            assert math.isclose(row.epsilon, plan.epsilon, rel_tol=1e-6), "the comparison counts another plan"
    return rows
