"""From a plan to its place in the ledger: a budget for its data, and a reservation in it, before anything is released.

A configuration that names no budget is counted all the same: on the budget that this data already has in the ledger, or
on a new one without a limit. So nothing is ever released about a data set that its ledger does not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.config import LedgeredConfig
from orchestrator.counting import num_private_trials
from orchestrator.planning import Plan
from orchestrator.privacy.best_of import BestOf
from orchestrator.privacy.budgets import Budget, Cost
from orchestrator.privacy.composition import EVALUATION, TRAIN_STEP, SweepCaps
from orchestrator.privacy.ledger import Ledger
from orchestrator.privacy.ledger_terms import Cap
from orchestrator.storage import Storage
from trainers.config import RunConfig
from trainers.tasks.fingerprint import fingerprint

NOT_PRIVATE = {"law": "not private"}
NUM_TRIALS = "num_trials"


@dataclass(frozen=True)
class Reserved:
    """A reservation that stands: the ledger that holds it, and the budget that pays."""

    ledger: Ledger
    budget: Budget
    name: str

    def num_trials(self) -> int:
        """Return the secret number of trials that was drawn with the reservation (release: best)."""
        return self.ledger.secret_of(self.name)[NUM_TRIALS]

    def steps_drawn(self, holder: str | None = None) -> int:
        """Return how many tokens for steps were drawn (under a filter: for scores too), by everyone or one trial."""
        kinds = {entry.kind for entry in self.ledger.reservations() if entry.name == self.name}
        steps = [kind for kind in kinds if not kind.startswith(EVALUATION)]
        return sum(self.ledger.drawn(self.name, kind, holder) for kind in steps)


def reserve(plan: Plan, storage: Storage) -> Reserved:
    """Enter the plan's caps under its name; the same plan again is the same reservation.

    Raises:
        ValueError: the name is taken by a plan with other caps, or the budget belongs to other data.
        BudgetExceeded: the budget has no room for it.
        LedgerCorruptError: what was drawn under this name earlier is not what the ledger wrote.
    """
    ledger = Ledger(storage.database_url)
    budget = budget_of(plan.config, ledger)
    reused = reusable(plan, ledger, budget, storage.name)
    secret = {NUM_TRIALS: plan.rule.number.draw_number()} if isinstance(plan.rule, BestOf) else None
    ledger.reserve(
        storage.name,
        caps_of(plan),
        budget=budget.name,
        cost=cost_of(plan, budget, reused),
        max_holders=plan.rule.max_holders if plan.rule else None,
        reused=reused,
        secret=secret,
    )
    return Reserved(ledger, budget, storage.name)


def budget_of(config: RunConfig, ledger: Ledger) -> Budget:
    """Return the budget of a configuration's data, made without a limit where there is none.

    Raises:
        ValueError: the named budget is unknown or belongs to other data, or it counts another unit or relation.
    """
    found = fingerprint(config.data.train, ledger.key())
    name = config.budget.name if isinstance(config, LedgeredConfig) else None
    if name is not None:
        budget = ledger.budget(name)
        require_agreement(config, budget)
        ledger.require_fingerprint(name, found)
        return budget
    budget = ledger.budget_of(found)
    if budget is None:
        budget = Budget(
            name=_free_name(config.data.train, ledger),
            epsilon=None,
            delta=0.0,
            num_units=config.data.num_units,
            adjacency=config.privacy.adjacency,
            unit=config.data.unit,
            fingerprint=found,
        )
        ledger.create_budget(budget)
    require_agreement(config, budget)
    return budget


def cost_of(plan: Plan, budget: Budget, reused: Mapping[str, int]) -> Cost:
    """Return what a plan takes from its budget: the certified epsilon of what is not left over from before."""
    if plan.rule is None:
        return Cost(math.inf, 0.0, None, {"rule": "not private"})
    delta, adjacency = plan.config.privacy.delta, plan.config.privacy.adjacency
    rule = plan.rule
    if reused:
        assert isinstance(rule, SweepCaps)
        rest = rule.without(reused)
        if rest is None:
            return Cost(0.0, 0.0, 0.0 if budget.order else None, rule.to_json())
        rule = rest
    renyi = rule.renyi(budget.order, adjacency) if budget.order else None
    if renyi == math.inf:
        raise ValueError(
            f"budget {budget.name!r} is a Rényi filter of order {budget.order:g}; this plan has no finite Rényi ε at "
            "that order: take more noise, or a budget of composition 'sum'"
        )
    return Cost(rule.epsilon(delta, adjacency), delta, renyi, rule.to_json())


def caps_of(plan: Plan) -> Mapping[str, Cap]:
    """Return the caps by kind of release; without privacy, steps are counted all the same."""
    if plan.rule is not None:
        limits = plan.rule.per_holder()
        return {kind: replace(cap, per_holder=limits.get(kind)) for kind, cap in plan.rule.tokens().items()}
    config = plan.config
    num_steps = num_private_trials(config) * config.method.num_steps + config.privacy.spare_steps
    return {TRAIN_STEP: Cap(NOT_PRIVATE, num_steps)}


def reusable(plan: Plan, ledger: Ledger, budget: Budget, name: str) -> Mapping[str, int]:
    """Return tokens of the same laws that closed reservations of the budget left: charged then, free now."""
    known = ledger.terms_of(name)
    if known is not None:
        return known.reused
    if not isinstance(plan.rule, SweepCaps) or plan.rule.disjoint:
        return {}
    left = {kind: min(cap.count, ledger.leftover(budget.name, cap.parameters)) for kind, cap in caps_of(plan).items()}
    return {kind: count for kind, count in left.items() if count}


def require_agreement(config: RunConfig, budget: Budget) -> None:
    """Refuse a budget that counts another unit, relation, or fewer units. ValueError says which."""
    for what, wanted, known in (
        ("privacy.adjacency", config.privacy.adjacency, budget.adjacency),
        ("the unit of privacy", config.data.unit, budget.unit),
    ):
        if wanted != known:
            raise ValueError(
                f"{what} is {wanted!r}, and budget {budget.name!r} of this data counts {known!r}: costs of the two do "
                "not add up. Use the budget's."
            )
    if config.data.num_units > budget.num_units:
        raise ValueError(
            f"data.num_{config.data.unit}s {config.data.num_units} exceeds the {budget.num_units} that budget "
            f"{budget.name!r} declares: a number that is too large makes q, and epsilon, too small"
        )


def _free_name(source: str, ledger: Ledger) -> str:
    """Return a name for a data set: that of its file, with a number where that is taken."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source.removeprefix("hub:")).stem).strip("-.") or "data"
    taken = {budget.name for budget in ledger.budgets()}
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
