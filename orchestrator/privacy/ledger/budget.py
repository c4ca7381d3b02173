"""The budget of a data set as it is declared, the cost of a reservation, and whether a cost still fits.

The terms of a budget are fixed when it is created. A reservation has a certified cost, which counts in full from the
moment of the reservation, whatever is drawn later. There are two ways to add up costs:

- `sum`: Σε_i ≤ ε and Σδ_i ≤ δ, basic composition. It holds for costs that are chosen adaptively, one after another
  (Rogers et al. 2016, arXiv:1605.08294) or concurrently (Haney et al. 2023, arXiv:2309.05901).
- `rdp`: Σ Rényi_i ≤ a limit, at ONE order that was declared when the budget was created (a Rényi filter: Feldman &
  Zrnic 2021, arXiv:2008.11193). The creator converts the limit to the (ε, δ) of the budget.

Sums are exact: a number counts as the decimal that it prints as. Ten times 0.1 fits into 1, and nothing more does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal, get_args

from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.errors import BudgetExceeded

BudgetUnit = Literal["example", "user"]
Composition = Literal["sum", "rdp"]
CHOICES = {"adjacency": Adjacency, "unit": BudgetUnit, "composition": Composition}


@dataclass(frozen=True, kw_only=True)
class BudgetTerms:
    """The declared terms of a budget.

    Args:
        name: of the data set, for people.
        epsilon: the limit of ε; None: no limit, costs are only counted.
        delta: the limit of δ; 0 for pure ε.
        num_units: declared number of examples or users; public.
        adjacency: the relation that every cost is for.
        unit: what is added, removed or replaced.
        fingerprint: keyed hash of the data (see `Ledger.key`); None until the data is first seen.
        composition: how costs add up; see the module.
        order, renyi_limit: of the Rényi filter, for composition 'rdp' only.

    Raises:
        ValueError: naming the field that is out of range.
    """

    name: str
    epsilon: float | None
    delta: float
    num_units: int
    adjacency: Adjacency = "add-or-remove-one"
    unit: BudgetUnit = "example"
    fingerprint: str | None = None
    composition: Composition = "sum"
    order: float | None = None
    renyi_limit: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("A budget needs a name.")
        for name, choice in CHOICES.items():
            if getattr(self, name) not in get_args(choice):
                allowed = ", ".join(get_args(choice))
                raise ValueError(f"Budget {self.name!r}: {name} must be one of {allowed}; got {getattr(self, name)!r}.")
        if self.epsilon is not None:
            _require_amount(f"Budget {self.name!r}: epsilon", self.epsilon)
        _require_amount(f"Budget {self.name!r}: delta", self.delta, below=1.0)
        if type(self.num_units) is not int or self.num_units < 1:
            raise ValueError(f"Budget {self.name!r}: num_units must be a positive int; got {self.num_units!r}.")
        self._check_filter()

    def _check_filter(self) -> None:
        if self.composition == "sum":
            if (self.order, self.renyi_limit) != (None, None):
                raise ValueError(f"Budget {self.name!r}: order and renyi_limit belong to composition 'rdp'.")
        elif self.epsilon is None or self.order is None or self.renyi_limit is None or not 1 < self.order < math.inf:
            raise ValueError(
                f"Budget {self.name!r}: composition 'rdp' needs epsilon, an order above 1 and a renyi_limit; got "
                f"{(self.epsilon, self.order, self.renyi_limit)}."
            )
        else:
            _require_amount(f"Budget {self.name!r}: renyi_limit", self.renyi_limit)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the fingerprint, as JSON with one spelling for equal numbers."""
        content = asdict(self)
        del content["fingerprint"]
        return content | {key: _float(content[key]) for key in ("epsilon", "delta", "order", "renyi_limit")}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], fingerprint: str | None) -> BudgetTerms:
        """Return the budget that `to_json` wrote."""
        return cls(**content, fingerprint=fingerprint)


@dataclass(frozen=True)
class Cost:
    """What a reservation costs; the caller who reserves has certified it.

    Args:
        epsilon: ε of all its caps; inf for what is not private.
        delta: the δ of this ε.
        renyi: the Rényi divergence at the budget's order, where the budget has one.
        rule: JSON from which anyone can recompute the cost.
    """

    epsilon: float
    delta: float
    renyi: float | None = None
    rule: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.epsilon != math.inf:
            _require_amount("Cost: epsilon", self.epsilon)
        _require_amount("Cost: delta", self.delta, below=1.0)
        if self.renyi is not None:
            _require_amount("Cost: renyi", self.renyi)

    def to_json(self) -> dict[str, Any]:
        """Return the cost as JSON; an infinite ε is null."""
        epsilon = None if self.epsilon == math.inf else float(self.epsilon)
        return {"epsilon": epsilon, "delta": float(self.delta), "renyi": _float(self.renyi), "rule": dict(self.rule)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Cost:
        """Return the cost that `to_json` wrote."""
        return cls(**{**content, "epsilon": math.inf if content["epsilon"] is None else content["epsilon"]})


@dataclass(frozen=True)
class Spent:
    """The sum of all reservations of a budget, rounded up; `renyi` is None where the budget has no order."""

    epsilon: float
    delta: float
    renyi: float | None


def spent_of(budget: BudgetTerms, costs: Iterable[Cost]) -> Spent:
    """Return the sum of costs."""
    costs = list(costs)
    renyi = None if budget.order is None else _rounded_up(_total(cost.renyi or 0.0 for cost in costs))
    private = all(cost.epsilon < math.inf for cost in costs)
    epsilon = _rounded_up(_total(cost.epsilon for cost in costs)) if private else math.inf
    return Spent(epsilon, _rounded_up(_total(cost.delta for cost in costs)), renyi)


def require_room(budget: BudgetTerms, costs: Iterable[Cost], asked: Cost, who: str) -> None:
    """Refuse a cost that does not fit into a budget beside the costs already reserved.

    Raises:
        BudgetExceeded: its fields are in ε, or in δ or Rényi divergence if the cost does not fit by that.
        ValueError: the budget is a Rényi filter and the cost has no divergence.
    """
    if budget.epsilon is None:
        return
    costs = list(costs)
    _require_private(budget, spent_of(budget, costs), asked, who)
    if budget.composition == "rdp" and asked.renyi is None:
        raise ValueError(f"Budget {budget.name!r} is a Rényi filter of order {budget.order}: the cost needs renyi.")
    for word, key, limit in _limits(budget):
        spent, wanted = _total(getattr(cost, key) for cost in costs), _exact(getattr(asked, key))
        if spent + wanted > limit:
            left = max(Fraction(0), limit - spent)
            raise BudgetExceeded(
                f"Budget {budget.name!r} has no room for {who!r}, which asks for {word} = {float(wanted):.6g}: of "
                f"{float(limit):.6g}, {float(spent):.6g} is reserved and {float(left):.6g} is left. Plan fewer steps, "
                "trials or scores, or more noise: the limit of a budget cannot be raised.",
                spent=float(spent),
                asked=float(wanted),
                left=float(left),
            )


def _limits(budget: BudgetTerms) -> list[tuple[str, str, Fraction]]:
    """Return each limit: its name for people, the field of a cost, and the limit."""
    if budget.renyi_limit is not None:
        return [(f"Rényi divergence of order {budget.order:g}", "renyi", _exact(budget.renyi_limit))]
    assert budget.epsilon is not None
    return [("ε", "epsilon", _exact(budget.epsilon)), ("δ", "delta", _exact(budget.delta))]


def _require_private(budget: BudgetTerms, spent: Spent, asked: Cost, who: str) -> None:
    if asked.epsilon == math.inf:
        assert budget.epsilon is not None
        raise BudgetExceeded(
            f"{who!r} is not private, and budget {budget.name!r} is limited to ε = {budget.epsilon:.6g}. Use a private "
            "method; or, if nobody's privacy depends on this data, a budget without a limit.",
            spent=spent.epsilon,
            asked=math.inf,
            left=max(0.0, budget.epsilon - spent.epsilon),
        )


def _require_amount(what: str, value: float, below: float = math.inf) -> None:
    if not 0 <= value < below:  # also refuses NaN
        raise ValueError(f"{what} must be at least 0 and below {below:g}; got {value!r}.")


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _exact(value: float) -> Fraction:
    return Fraction(repr(float(value)))


def _total(values: Iterable[float]) -> Fraction:
    return sum(map(_exact, values), Fraction(0))


def _rounded_up(value: Fraction) -> float:
    near = float(value)
    return near if _exact(near) >= value else math.nextafter(near, math.inf)
