"""Recomputes the ε of every reservation from what the ledger stores.

A chain of hashes shows that rows are what was written, not that what was written was right. So this checks that the ε
of a reservation follows from its rule, that the rule charges all tokens that may be drawn, and that all fit the budget.
"""

import math
from dataclasses import dataclass

from orchestrator.privacy.ledger.budget import BudgetTerms, Cost
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.registry import rule_from_json, title_of

TOLERANCE = 1e-6  # relative; versions of the numerical libraries may differ by as much
NOT_PRIVATE_RULE = "not private"


@dataclass(frozen=True)
class Recomputed:
    """The charged and the recomputed ε of a reservation; `problem` says what is wrong, None where nothing is.

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
    title, charged = title_of(terms.cost.rule), terms.cost.epsilon
    try:
        cost = _cost(terms, budget)
    except ValueError as error:  # pydantic's too: a rule that cannot be read, or that has no ε here
        return Recomputed(name, title, charged, None, f"its rule has no ε: {str(error).splitlines()[0]}")
    return Recomputed(name, title, charged, cost.epsilon, _uncharged(terms) or _difference(terms.cost, cost))


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
    """Return what a reservation costs; tokens that it took over from earlier ones were charged there."""
    delta = terms.cost.delta
    if terms.cost.rule.get("rule") == NOT_PRIVATE_RULE:
        return Cost(math.inf, delta)
    rule = rule_from_json(terms.cost.rule)
    if all(terms.reused.get(kind, 0) == cap.count for kind, cap in terms.caps.items()):
        return Cost(0.0, delta, 0.0 if budget.order else None)
    renyi = rule.renyi(budget.order, budget.adjacency) if budget.order else None
    return Cost(rule.epsilon(delta, budget.adjacency), delta, renyi)


def _uncharged(terms: Terms) -> str | None:
    """Return which token may be drawn that the rule does not charge; None if there is none."""
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


def _difference(charged: Cost, cost: Cost) -> str | None:
    for word, stored, now in (("ε", charged.epsilon, cost.epsilon), ("Rényi ε", charged.renyi, cost.renyi)):
        if now is not None and (stored is None or not math.isclose(stored, now, rel_tol=TOLERANCE)):
            return f"{word} = {stored} was charged, and {now:.9g} is what its rule costs"
    return None
