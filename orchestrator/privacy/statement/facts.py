"""From a rule, and the facts around it, to the privacy statement of a run or sweep."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from orchestrator.privacy.ledger.budget import BudgetTerms, Spent
from orchestrator.privacy.rules.base import ALL_RELEASED, CostRule
from orchestrator.privacy.rules.caps import CAP_NOTE
from orchestrator.privacy.statement.mechanism_wording import mechanism_of, sampler_of
from orchestrator.privacy.statement.statement import AccountantUsed, BudgetUsed, LossesFrom, PrivacyStatement
from orchestrator.privacy.statement.wording import CLIPPED, NOT_COVERED_WITHOUT_PRIVACY, Order, not_covered


@dataclass(frozen=True, kw_only=True)
class StatementFacts:
    """What a statement says beside what follows from the rule.

    Args:
        budget: of the data set; its adjacency and its unit are those of the statement.
        spent: what is reserved of the budget, this run included.
        num_reservations: how many runs and sweeps reserved it, this one included.
        delta: the δ at which the ε of this run is stated.
        tokens_drawn: by kind, as the ledger counts them now; not shown where the rule keeps them secret.
        ledger_digest: one hash of all chains of the ledger.
        search: how trials were chosen.
        num_steps: planned training steps, for a run without privacy.
        epsilon_per_trial: of one trial by itself; inf where that means nothing.
        epsilon_by_other_rules: what the same steps would cost under other rules.
        num_units: declared number of records; δ is compared with it.
        public_data: what was treated as public, one phrase each (validation file, base model, label words).
        also_not_covered: sentences to add to the standing list.
        measures_norms: whether the clip of a trial follows the norms of the vectors, which are then measured.
        order: whether loss differences (zeroth) or gradients (first) are clipped and released.
        versions: of the software, by name.
    """

    budget: BudgetTerms
    spent: Spent
    num_reservations: int
    delta: float
    tokens_drawn: Mapping[str, int]
    ledger_digest: str
    search: str
    num_steps: int = 0
    epsilon_per_trial: float = math.inf
    epsilon_by_other_rules: Mapping[str, float] = field(default_factory=dict)
    num_units: int | None = None
    public_data: Sequence[str] = ()
    also_not_covered: Sequence[str] = ()
    measures_norms: bool = False
    order: Order = "zeroth"
    versions: Mapping[str, str] = field(default_factory=dict)
    losses: LossesFrom | None = None


def make_statement(rule: CostRule | None, facts: StatementFacts) -> PrivacyStatement:
    """Return the statement of a run or sweep; `rule` is what was reserved, None for a run without clipping and noise.

    The ε is computed here, from the rule. ValueError if more tokens were drawn than it allows, or of other kinds.
    """
    claims = _without_privacy(facts) if rule is None else _claims(rule, facts)
    return PrivacyStatement(
        budget=_budget_used(facts),
        unit=facts.budget.unit,
        adjacency=facts.budget.adjacency,
        search=facts.search,
        public_data=tuple(facts.public_data),
        ledger_digest=facts.ledger_digest,
        versions=dict(facts.versions),
        losses=facts.losses,
        **claims,
    )


def _claims(rule: CostRule, facts: StatementFacts) -> dict[str, Any]:
    budget, caps = facts.budget, rule.shown_caps()
    certificate = rule.certificate(facts.delta, budget.adjacency)
    total_epsilon, total_delta = _total(facts)
    return {
        "private": True,
        "epsilon_total": total_epsilon,
        "delta_total": total_delta,
        "epsilon_here": certificate.epsilon,
        "delta_here": facts.delta,
        "epsilon_per_trial": facts.epsilon_per_trial if math.isfinite(facts.epsilon_per_trial) else None,
        "epsilon_by_other_rules": dict(facts.epsilon_by_other_rules),
        "released": rule.released,
        "mechanism": mechanism_of(rule, facts.order, budget.unit, measures_norms=facts.measures_norms),
        "sampler": sampler_of(rule, budget.unit),
        "caps": caps,
        "tokens_drawn": None if rule.is_secret else _drawn(caps, facts.tokens_drawn),
        "rule": f"{rule.describe()} {CAP_NOTE}",
        "accountant": AccountantUsed(
            name=f"dp-accounting, {certificate.method}",
            version=version("dp-accounting"),
            discretisation=certificate.discretisation,
        ),
        "warnings": tuple(_warnings(max(facts.delta, total_delta or 0.0), total_epsilon, facts.num_units)),
        "not_covered": (*not_covered(facts.order), *facts.also_not_covered),
    }


def _without_privacy(facts: StatementFacts) -> dict[str, Any]:
    return {
        "private": False,
        **dict.fromkeys(("epsilon_total", "delta_total", "epsilon_here", "delta_here", "epsilon_per_trial")),
        "epsilon_by_other_rules": {},
        "released": ALL_RELEASED,
        "mechanism": f"none: {CLIPPED[facts.order]} of private examples enter the updates without clipping or noise",
        "sampler": "irrelevant: without noise, sampling protects nobody",
        "caps": {"train_step": facts.num_steps},
        "tokens_drawn": {},
        "rule": "none: everything that leaves this run may reveal any example that it was trained on",
        "accountant": None,
        "warnings": (),
        "not_covered": NOT_COVERED_WITHOUT_PRIVACY,
    }


def _drawn(caps: Mapping[str, int], drawn: Mapping[str, int]) -> dict[str, int]:
    for kind, count in drawn.items():
        if count > caps.get(kind, 0):
            raise ValueError(
                f"Expected at most {caps.get(kind, 0)} drawn {kind!r} tokens, the cap of the rule; the ledger counts "
                f"{count}: the rule is not the one that was reserved."
            )
    return {kind: drawn.get(kind, 0) for kind in caps}


def _total(facts: StatementFacts) -> tuple[float | None, float | None]:
    """Return the ε and δ of everything released about the data set; a Rényi filter counts its whole limit."""
    if facts.budget.composition == "rdp":
        return facts.budget.epsilon, facts.budget.delta
    return (facts.spent.epsilon, facts.spent.delta) if math.isfinite(facts.spent.epsilon) else (None, None)


def _budget_used(facts: StatementFacts) -> BudgetUsed:
    budget = facts.budget
    return BudgetUsed(
        name=budget.name,
        epsilon_limit=budget.epsilon,
        delta_limit=None if budget.epsilon is None else budget.delta,
        composition=budget.composition,
        num_reservations=facts.num_reservations,
    )


def _warnings(delta: float, total_epsilon: float | None, num_units: int | None) -> list[str]:
    warnings = []
    if num_units is not None and delta * num_units >= 1:
        warnings.append(
            f"δ = {delta:g} is at least 1 / {num_units}. A mechanism that publishes one random record would satisfy "
            "it. Choose a much smaller δ."
        )
    if total_epsilon is None:
        warnings.append("Something else that was released about this data is not private, so no finite ε covers both.")
    return warnings
