"""Makes the privacy statement of a finished run or sweep from its rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.ledger.budget import BudgetTerms, Spent
from orchestrator.privacy.rules.base import ALL_RELEASED, CostRule
from orchestrator.privacy.rules.caps import CAP_NOTE
from orchestrator.privacy.statement.mechanism_wording import mechanism_of, sampler_of
from orchestrator.privacy.statement.statement import AccountantUsed, BudgetUsed, LossesFrom, PrivacyStatement
from orchestrator.privacy.statement.wording import NOT_COVERED_WITHOUT_PRIVACY, WHAT_IS_CLIPPED, Order, not_covered


def state(
    rule: CostRule | None,
    delta: float,
    *,
    adjacency: Adjacency,
    unit: str,
    budget: BudgetTerms,
    spent: Spent,
    num_reservations: int,
    tokens_drawn: Mapping[str, int] | None,
    ledger_digest: str,
    search: str,
    epsilon_per_trial: float = math.inf,
    epsilon_by_other_rules: Mapping[str, float] | None = None,
    num_steps: int = 0,
    num_units: int | None = None,
    public_data: Sequence[str] = (),
    also_not_covered: Sequence[str] = (),
    order: Order = "zeroth",
    versions: Mapping[str, str] | None = None,
    losses: LossesFrom | None = None,
) -> PrivacyStatement:
    """Return the statement of a run or sweep, its ε computed here from the rule.

    Args:
        rule: what was reserved; None for a run without clipping and noise.
        delta: the δ at which the rule's ε is said.
        adjacency: which pairs of data sets must be indistinguishable.
        unit: what one record is: "example" or "user".
        budget: of the data set.
        spent: what is reserved of the budget, this run included.
        num_reservations: how many runs and sweeps that is.
        tokens_drawn: by kind, as the ledger has them now; information only, and None where it must stay secret.
        ledger_digest: of the ledger's chains.
        search: how trials were chosen.
        epsilon_per_trial: of one trial by itself; inf where that means nothing.
        epsilon_by_other_rules: what the same steps would cost under other ways of counting.
        num_steps: planned steps of a run that is not private.
        num_units: declared number of records, to judge δ by.
        public_data: what was held public, one phrase each (validation file, base model, label words).
        also_not_covered: sentences to add to the standing list.
        order: whether loss differences or gradients are clipped and released.
        versions: of the software, by name.
        losses: what computed them.

    Raises:
        ValueError: if more tokens were drawn than the rule allows, or a kind was drawn that has no cap.
    """
    common = {
        "unit": unit,
        "adjacency": adjacency,
        "search": search,
        "public_data": tuple(public_data),
        "ledger_digest": ledger_digest,
        "versions": dict(versions or {}),
        "budget": _budget_used(budget, num_reservations),
        "losses": losses,
    }
    if rule is None:
        return _without_privacy(common, num_steps, order)
    caps = rule.shown_caps()
    for kind, drawn in (tokens_drawn or {}).items():
        if drawn > caps.get(kind, 0):
            raise ValueError(f"{drawn} {kind!r} tokens were drawn over a cap of {caps.get(kind, 0)}: not this rule's.")
    found = rule.certificate(delta, adjacency)
    total_epsilon, total_delta = _total(budget, spent)
    return PrivacyStatement(
        private=True,
        epsilon_total=total_epsilon,
        delta_total=total_delta,
        epsilon_here=found.epsilon,
        delta_here=delta,
        epsilon_per_trial=epsilon_per_trial if math.isfinite(epsilon_per_trial) else None,
        epsilon_by_other_rules=dict(epsilon_by_other_rules or {}),
        released=rule.released,
        mechanism=mechanism_of(rule, order, unit),
        sampler=sampler_of(rule, unit),
        caps=caps,
        tokens_drawn=None if tokens_drawn is None else {kind: tokens_drawn.get(kind, 0) for kind in caps},
        rule=f"{rule.describe()} {CAP_NOTE}",
        accountant=AccountantUsed(
            name=f"dp-accounting, {found.method}", version=version("dp-accounting"), discretisation=found.discretisation
        ),
        warnings=tuple(_warnings(max(delta, total_delta or 0.0), total_epsilon, num_units)),
        not_covered=(*not_covered(order), *also_not_covered),
        **common,
    )


def _without_privacy(common: dict, num_steps: int, order: Order) -> PrivacyStatement:
    return PrivacyStatement(
        private=False,
        epsilon_total=None,
        delta_total=None,
        epsilon_here=None,
        delta_here=None,
        epsilon_per_trial=None,
        epsilon_by_other_rules={},
        released=ALL_RELEASED,
        mechanism=f"none: {WHAT_IS_CLIPPED[order][0]} of private examples enter the updates as they are, without "
        "clipping or noise",
        sampler="of no consequence: without noise, sampling protects nobody",
        caps={"train_step": num_steps},
        tokens_drawn={},
        rule="none: everything that leaves this run may reveal any example it was trained on",
        accountant=None,
        warnings=(),
        not_covered=NOT_COVERED_WITHOUT_PRIVACY,
        **common,
    )


def _total(budget: BudgetTerms, spent: Spent) -> tuple[float | None, float | None]:
    """Return the ε and δ of all that was released about the data set: of a Rényi filter, what was declared."""
    if budget.composition == "rdp":
        return budget.epsilon, budget.delta
    return (spent.epsilon, spent.delta) if math.isfinite(spent.epsilon) else (None, None)


def _budget_used(budget: BudgetTerms, num_reservations: int) -> BudgetUsed:
    limited = budget.epsilon is not None
    return BudgetUsed(
        name=budget.name,
        epsilon_limit=budget.epsilon,
        delta_limit=budget.delta if limited else None,
        composition=budget.composition,
        num_reservations=num_reservations,
    )


def _warnings(delta: float, total_epsilon: float | None, num_units: int | None) -> list[str]:
    found = []
    if num_units is not None and delta * num_units >= 1:
        found.append(
            f"δ = {delta:g} is at least 1 / {num_units}: publishing one record, chosen at random, would satisfy it. "
            "Take a δ well below."
        )
    if total_epsilon is None:
        found.append("Something else that was released about this data is not private: no finite ε covers both.")
    return found
