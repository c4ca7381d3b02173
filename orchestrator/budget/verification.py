"""ε of what was reserved, computed anew from what the ledger stores: the count is not believed, it is done again.

A chain of hashes shows that rows are what was written. It does not show that what was written was right: that the ε of
a reservation is the one of its rule, that the rule charges every token that may be drawn, and that all fit the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.privacy.ledger.budget import BudgetTerms, Cost
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.registry import rule_from_json, title_of

TOLERANCE = 1e-6  # relative; what versions of the numerical libraries may differ by
NOT_PRIVATE_RULE = "not private"


@dataclass(frozen=True)
class Recomputed:
    """What was charged under a name, and what that costs when it is computed anew; `problem` is None where they fit.

    ε is infinite for what is not private; `recomputed` is None where there is no rule to compute it from.
    """

    name: str
    rule: str
    charged: float
    recomputed: float | None
    problem: str | None


def recompute(ledger: Ledger, budget: BudgetTerms, name: str) -> Recomputed:
    """Compute the ε of a reservation from its stored rule, at its δ and the budget's adjacency."""
    terms = ledger.terms_of(name)
    assert terms is not None, f"nothing is reserved under {name!r}"
    found: Cost | None = None
    problem = None
    try:
        found = _cost(terms, budget)
    except ValueError as error:  # pydantic's too: a rule that cannot be read, or that has no ε here
        problem = f"its rule has no ε: {str(error).splitlines()[0]}"
    if found is not None:
        problem = _uncharged(terms) or _difference(terms.cost, found)
    title = title_of(terms.cost.rule)
    return Recomputed(name, title, terms.cost.epsilon, found and found.epsilon, problem)


def overspending(ledger: Ledger, budget: BudgetTerms) -> list[Recomputed]:
    """Return one line if the sum of all reservations is over the budget's limit, else none."""
    spent = ledger.spent(budget.name)
    limited = {
        "δ": (spent.delta, budget.delta if budget.composition == "sum" else math.inf),
        "ε": (spent.epsilon, budget.epsilon if budget.composition == "sum" else math.inf),
        "Rényi ε": (spent.renyi, budget.renyi_limit),
    }
    return [
        Recomputed(budget.name, "sum of all", sum_, sum_, f"{word} = {sum_:g} is reserved, over its limit of {limit:g}")
        for word, (sum_, limit) in limited.items()
        if budget.epsilon is not None and sum_ is not None and limit is not None and sum_ > limit
    ]


def _cost(terms: Terms, budget: BudgetTerms) -> Cost:
    """Return what a reservation costs; what was left over from earlier ones is in its caps and was charged there."""
    delta = terms.cost.delta
    if terms.cost.rule.get("rule") == NOT_PRIVATE_RULE:
        return Cost(math.inf, delta)
    rule = rule_from_json(terms.cost.rule)
    if all(terms.reused.get(kind, 0) == cap.count for kind, cap in terms.caps.items()):
        return Cost(0.0, delta, 0.0 if budget.order else None)
    renyi = rule.renyi(budget.order, budget.adjacency) if budget.order else None
    return Cost(rule.epsilon(delta, budget.adjacency), delta, renyi)


def _uncharged(terms: Terms) -> str | None:
    """Say which token may be drawn that the rule does not charge."""
    if terms.cost.rule.get("rule") == NOT_PRIVATE_RULE:
        return None
    rule = rule_from_json(terms.cost.rule)
    if terms.reused and not rule.reuses_tokens:
        return f"it reuses tokens, which the rule {title_of(terms.cost.rule)!r} does not allow"
    if terms.max_holders != rule.max_holders:
        return f"{terms.max_holders} trials may draw, {rule.max_holders} are charged"
    problems = (_uncharged_kind(terms, rule, kind) for kind in terms.caps)
    return next((problem for problem in problems if problem), None)


def _uncharged_kind(terms: Terms, rule: CostRule, kind: str) -> str | None:
    cap, charged = terms.caps[kind], rule.tokens().get(kind)
    count = cap.count - terms.reused.get(kind, 0)
    if count == 0:
        return None
    if charged is None or dict(charged.parameters) != dict(cap.parameters):
        return f"{kind!r} tokens of {dict(cap.parameters)} may be drawn, and its rule charges other ones"
    if count > charged.count:
        return f"{count:,} {kind!r} tokens may be drawn, {charged.count:,} are charged"
    if cap.per_holder != charged.per_holder:
        return f"a trial may draw {cap.per_holder} {kind!r} tokens, {charged.per_holder} are charged"
    return None


def _difference(charged: Cost, found: Cost) -> str | None:
    for word, stored, now in (("ε", charged.epsilon, found.epsilon), ("Rényi ε", charged.renyi, found.renyi)):
        if now is not None and (stored is None or not math.isclose(stored, now, rel_tol=TOLERANCE)):
            return f"{word} = {stored} was charged, and {now:.9g} is what its rule costs"
    return None
