"""The privacy statement: what may be claimed about a run or a sweep, in words that people outside the field can check.

Exactly one number is called the total: the ε of everything that was released about the data set so far, this run
included, by the budget that the data set has. Everything beside it (what this run was charged, what one trial costs by
itself, what another way of counting would say) says what it is and cannot be mistaken for it. A run without noise gets
a statement too, which begins by saying that there is no privacy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.privacy.accountant import Adjacency
from orchestrator.privacy.best_of import BestOf
from orchestrator.privacy.budgets import Budget, Spent
from orchestrator.privacy.composition import CAP_NOTE
from orchestrator.privacy.cost_rule import CostRule
from orchestrator.privacy.mechanisms import mechanism_of, sampler_of
from orchestrator.privacy.statement_text import NOT_COVERED_WITHOUT_PRIVACY, WHAT_IS_CLIPPED, Order, not_covered, render

ALL_RELEASED = "every trial: its weights, hyperparameters, scores, number of steps, and the log of noisy values"
BEST_RELEASED = (
    "the best trial alone: its weights, hyperparameters, score and log of noisy values. Not the number of trials, nor "
    "anything of the others, nor how long the search took: these stay with the operator"
)

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccountantUsed(_Frozen):
    """Which accountant certified, and on what grid of the privacy loss (None: no grid)."""

    name: str
    version: str
    discretisation: float | None


class BudgetUsed(_Frozen):
    """The budget of the data set: its limit (None: it only counts) and how many reservations it holds with this one."""

    name: str
    epsilon_limit: _Amount | None
    delta_limit: _Amount | None
    composition: Literal["sum", "rdp"]
    num_reservations: int


class LossesFrom(_Frozen):
    """What computed the losses, and whether in a mode that rounds a loss alike whoever shares its batch."""

    evaluator: str
    batch_invariant: bool


class PrivacyStatement(_Frozen):
    """Everything that a reader needs to judge a run's privacy; `text` for people, `model_dump_json` for programs.

    `epsilon_total` at `delta_total` is that of the data set; `epsilon_here` at `delta_here` that of this run or sweep
    by itself. An infinite ε is `null` in JSON, beside `"private": false`, so that every JSON parser can read it.
    `tokens_drawn` is null where the number of trials is a secret, `losses` in statements older than the field.
    """

    private: bool
    epsilon_total: _Amount | None
    delta_total: _Amount | None
    epsilon_here: _Amount | None
    delta_here: _Amount | None
    epsilon_per_trial: _Amount | None
    epsilon_by_other_rules: dict[str, float]
    budget: BudgetUsed
    released: str
    unit: str
    adjacency: Adjacency
    mechanism: str
    sampler: str
    search: str
    caps: dict[str, int]
    tokens_drawn: dict[str, int] | None
    rule: str
    accountant: AccountantUsed | None
    public_data: tuple[str, ...]
    warnings: tuple[str, ...]
    not_covered: tuple[str, ...]
    ledger_digest: str
    versions: dict[str, str]
    losses: LossesFrom | None = None

    @model_validator(mode="after")
    def _private_means_a_number(self) -> Self:
        numbers = ("epsilon_here", "delta_here", "accountant")
        missing = [name for name in numbers if getattr(self, name) is None]
        if self.private and missing:
            raise ValueError(f"A private run needs {', '.join(missing)}.")
        if not self.private and (self.epsilon_total is not None or self.epsilon_here is not None):
            raise ValueError("A run that is not private has no finite ε: epsilon_total must be None.")
        return self

    @property
    def epsilon(self) -> float:
        """The total ε as a number: inf where something that was released is not private."""
        return math.inf if self.epsilon_total is None else self.epsilon_total

    def text(self, width: int = 88) -> str:
        """Return the statement as plain text in lines of at most `width` columns (60 at least)."""
        return render(self, width)


def state(
    rule: CostRule | None,
    delta: float,
    *,
    adjacency: Adjacency,
    unit: str,
    budget: Budget,
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
    caps = _caps_of(rule)
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
        released=BEST_RELEASED if isinstance(rule, BestOf) else ALL_RELEASED,
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


def _total(budget: Budget, spent: Spent) -> tuple[float | None, float | None]:
    """Return the ε and δ of all that was released about the data set: of a Rényi filter, what was declared."""
    if budget.composition == "rdp":
        return budget.epsilon, budget.delta
    return (spent.epsilon, spent.delta) if math.isfinite(spent.epsilon) else (None, None)


def _budget_used(budget: Budget, num_reservations: int) -> BudgetUsed:
    limited = budget.epsilon is not None
    return BudgetUsed(
        name=budget.name,
        epsilon_limit=budget.epsilon,
        delta_limit=budget.delta if limited else None,
        composition=budget.composition,
        num_reservations=num_reservations,
    )


def _caps_of(rule: CostRule) -> dict[str, int]:
    """Return the caps by kind; those of one trial where the number of trials is secret."""
    if isinstance(rule, BestOf):
        return rule.per_holder()
    return {kind: cap.count for kind, cap in rule.tokens().items()}


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
