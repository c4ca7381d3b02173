"""A Rényi filter: noise, sampling rate and length chosen freely in each trial, until one Rényi budget is spent.

Adding up Rényi ε at one order that was declared before is valid even where each release's parameters depend on earlier
results (Feldman & Zrnic (2021), Thm 3.1, arXiv:2008.11193). Nothing of the kind holds for privacy loss distributions:
choosing the next release by what the last one showed, so that each realised composition has ε = 1, can cost more than
1, and so no function here certifies parameters that were chosen on the way by their distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from orchestrator.privacy.accountant import accountant, bounds
from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.events import read
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.base import CostRule, check_order
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap

UNITS = 2**40  # of one Rényi ε: prices and budgets are whole numbers of these, so that sums are exact
RENYI_UNITS = "renyi_units"
_MARGIN = 1e-9  # relative; covers the rounding of dp-accounting's sums


class RenyiFilter(CostRule):
    """Every release is charged its Rényi ε at `order`, and refused once the total would pass the budget's.

    Args:
        order: α above 1, fixed before any data is touched; `suggest_order` finds a good one.
        epsilon_limit: the budget's ε.
        delta: the δ at which that ε is said.
        units: what a record is, as in `SweepCaps`.

    Formal guarantees:
        If each release is charged at least its Rényi ε at `order` before it is made and the charges never exceed
        `capacity`, everything released is (order, capacity)-Rényi-DP under add-or-remove-one, hence (ε, δ)-DP at
        every δ by dp-accounting's conversion: at `delta`, ε is at most `epsilon_limit`. Parameters may depend on
        earlier results, trials may run at once (their releases come in some order), and what is left may be used later.
    """

    rule: Literal["filter"] = "filter"
    order: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    epsilon_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    delta: Annotated[float, Field(ge=1e-12, lt=1)]
    units: str | None = None

    @model_validator(mode="after")
    def _there_is_a_budget(self) -> Self:
        if self.capacity() < 1:
            least = self.epsilon_limit - renyi_limit(self.epsilon_limit, self.delta, self.order)
            raise ValueError(
                f"At order {self.order:g} the conversion alone costs ε = {least:.3g} at δ = {self.delta:g}, all of "
                f"{self.epsilon_limit:g}: take a higher order (suggest_order finds a good one)."
            )
        return self

    @property
    def title(self) -> str:
        """The rule's name."""
        return "filter"

    @property
    def step_kinds(self) -> tuple[StepCap, ...]:
        """None: each trial declares its own."""
        return ()

    @property
    def score_kinds(self) -> tuple[EvaluationCap, ...]:
        """None: each trial declares its own."""
        return ()

    def capacity(self) -> int:
        """Return the budget in units of 2^-40 Rényi ε, rounded down."""
        return math.floor(Fraction(renyi_limit(self.epsilon_limit, self.delta, self.order)) * UNITS) - 1

    def price(self, release: StepCap | EvaluationCap) -> int:
        """Return what one step or one score is charged, in units of 2^-40 Rényi ε, rounded up; its count is ignored.

        Raises:
            ValueError: if there is no finite Rényi ε at this order.
        """
        cost = float(bounds.renyi(read(release.event()), [self.order])[0])
        if not math.isfinite(cost):
            raise ValueError(f"{release.law()} has no finite Rényi ε at order {self.order:g}: take more noise.")
        return math.ceil(Fraction(cost * (1 + _MARGIN)) * UNITS)

    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        """Return the ε of the whole budget at a δ: the filter's own, or any other above 0.

        Raises:
            ValueError: under replace-one, for which no Rényi ε is proven here.
        """
        accountant.require_delta(delta)
        if adjacency != "add-or-remove-one":
            raise ValueError("A Rényi filter is proven for add-or-remove-one only: take caps or a menu.")
        epsilon = self.converted(self.capacity() / UNITS, delta) if delta else math.inf
        return Certificate(epsilon, f"Rényi filter at order {self.order:g}", None)

    def converted(self, renyi: float, delta: float) -> float:
        """Return the ε at `delta` (above 0) of what costs so much Rényi ε at the filter's order."""
        return bounds.from_renyi([self.order], [renyi], delta)

    def bound(self, delta: float) -> float:
        """Return the ε itself."""
        return self.certificate(delta).epsilon

    def renyi(self, order: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        """Return the budget at the filter's order and every smaller one (Rényi divergences rise with the order)."""
        check_order(order)
        return self.capacity() / UNITS if order <= self.order and adjacency == "add-or-remove-one" else math.inf

    def tokens(self) -> dict[str, Cap]:
        """Return the budget as one cap in units; a release draws its `price`."""
        law: dict[str, str | float | int] = {"law": "renyi filter", "order": self.order, "units": UNITS}
        return {RENYI_UNITS: Cap(law | ({"record": self.units} if self.units else {}), self.capacity())}

    def describe(self) -> str:
        """Return one sentence for the statement."""
        return (
            f"Any noise, sampling rate and length, chosen freely on the way, each release charged its Rényi ε at order "
            f"{self.order:g} (declared before) against a budget of {self.capacity() / UNITS:.6g}; everything may be "
            "published."
        )


def renyi_limit(epsilon: float, delta: float, order: float) -> float:
    """Return the largest Rényi ε at `order` whose conversion at `delta` is at most `epsilon`; 0 or less: there is none.

    Formal guarantees:
        The inverse of dp-accounting's conversion ε = ρ + ln(1 − 1/α) − ln(δα)/(α − 1) (Canonne, Kamath & Steinke
        (2020), Prop. 12, arXiv:2004.00010).
    """
    check_order(order)
    if not 0 < delta < 1:
        raise ValueError(f"delta must be above 0 and below 1 for a Rényi budget; got {delta!r}.")
    return epsilon - math.log1p(-1 / order) + math.log(delta * order) / (order - 1)


def suggest_order(
    renyi: Callable[[float], float], epsilon: float, delta: float, orders: Sequence[float] = bounds.ALL_ORDERS
) -> float:
    """Return the order at which what is expected takes the smallest share of a budget.

    Args:
        renyi: from an order to the Rényi ε of what is expected, as `rule.renyi` or a sum of several.
        epsilon: the budget's ε.
        delta: the budget's δ.
        orders: what to choose from.

    Raises:
        ValueError: if no order has any room at this budget.
    """
    usable = [order for order in orders if order > 1.01]  # below, the conversion is not stable
    limits = np.array([renyi_limit(epsilon, delta, order) for order in usable])
    if not np.any(limits > 0):
        raise ValueError(f"No Rényi order has room for ε = {epsilon:g} at δ = {delta:g}: give a larger budget.")
    shares = [renyi(order) / limit if limit > 0 else math.inf for order, limit in zip(usable, limits, strict=True)]
    return usable[int(np.argmin(shares))]


def best_order(expected: Sequence[StepCap | EvaluationCap], epsilon: float, delta: float) -> float:
    """Return the order at which the expected releases, counts included, take the smallest share of a budget."""

    def renyi(order: float) -> float:
        counts = [(read(cap.event()), cap.num_steps if isinstance(cap, StepCap) else cap.count) for cap in expected]
        return math.fsum(count * float(bounds.renyi(releases, [order])[0]) for releases, count in counts)

    return suggest_order(renyi, epsilon, delta)
