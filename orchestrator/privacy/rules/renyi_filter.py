"""A Rényi filter: noise, sampling rate and length chosen freely in each trial, until one Rényi budget is spent.

Adding up Rényi ε at one order that was declared before is valid even where each release's parameters depend on earlier
results (Feldman & Zrnic (2021), Thm 3.1, arXiv:2008.11193). Nothing of the kind holds for privacy loss distributions:
choosing the next release by what the last one showed, so that each realised composition has ε = 1, can cost more than
1, and so no function here certifies parameters that were chosen on the way by their distribution.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.privacy.accountant import accountant, bounds
from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.events import read
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.base import CostRule, require_order
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap

UNITS = 2**40  # of one Rényi ε: prices and budgets are whole numbers of these, so that sums are exact
RENYI_UNITS = "renyi_units"
_MARGIN = 1e-9  # relative; covers the rounding of dp-accounting's sums
_SMALLEST_DELTA = 1e-12
# What DP zeroth-order fine-tuning looks like: long runs of fainter and of stronger steps, and a few scores.
_TYPICAL = (
    StepCap(sampling_prob=0.016, noise_multiplier=1.2, num_steps=1000),
    StepCap(sampling_prob=0.0416, noise_multiplier=2.767, num_steps=1000),
    StepCap(sampling_prob=0.064, noise_multiplier=4.0, num_steps=1000),
    EvaluationCap(noise_multiplier=20.0, count=30),
)


class RenyiFilter(CostRule):
    """Every release is charged its Rényi ε at `order`, and refused once the total would pass the budget's.

    Args:
        order: α above 1, fixed before any data is touched; `best_order` finds a good one.
        epsilon_limit, delta: the budget's ε, and the δ at which it is said.
        units: what a record is, as in `SweepCaps`.

    Formal guarantees:
        If each release is charged at least its Rényi ε at `order` before it is made and the charges never exceed
        `capacity`, everything released is (order, capacity)-Rényi-DP under add-or-remove-one, hence (ε, δ)-DP by
        dp-accounting's conversion: at `delta`, ε is at most `epsilon_limit` (docs/proofs/filter.md).
    """

    rule: Literal["filter"] = "filter"
    order: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    epsilon_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    delta: Annotated[float, Field(ge=_SMALLEST_DELTA, lt=1)]
    units: str | None = None

    @model_validator(mode="after")
    def _there_is_a_budget(self) -> Self:
        if self.capacity() < 1:
            least = self.epsilon_limit - renyi_limit(self.epsilon_limit, self.delta, self.order)
            raise ValueError(
                f"At order {self.order:g} the conversion alone costs ε = {least:.3g} at δ = {self.delta:g}, all of "
                f"{self.epsilon_limit:g}: take a higher order (best_order finds a good one)."
            )
        return self

    @property
    def title(self) -> str:
        return "filter"

    def capacity(self) -> int:
        """Return the budget in units of 2^-40 Rényi ε, rounded down."""
        return math.floor(Fraction(renyi_limit(self.epsilon_limit, self.delta, self.order)) * UNITS) - 1

    def price(self, release: StepCap | EvaluationCap) -> int:
        """Return what one step or one score is charged, in units of 2^-40 Rényi ε, rounded up; its count is ignored.

        ValueError if there is no finite Rényi ε at this order.
        """
        cost = float(bounds.renyi(read(release.event()), [self.order])[0])
        if not math.isfinite(cost):
            raise ValueError(f"{release.law()} has no finite Rényi ε at order {self.order:g}: take more noise.")
        return math.ceil(Fraction(cost * (1 + _MARGIN)) * UNITS)

    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        accountant.require_delta(delta)
        if adjacency != "add-or-remove-one":
            raise ValueError("A Rényi filter is proven for add-or-remove-one only: take caps or a menu.")
        epsilon = self.converted(self.capacity() / UNITS, delta) if delta else math.inf
        return Certificate(epsilon, f"Rényi filter at order {self.order:g}", None)

    def converted(self, renyi: float, delta: float) -> float:
        """Return the ε at `delta` (above 0) of what costs so much Rényi ε at the filter's order."""
        return bounds.from_renyi([self.order], [renyi], delta)

    def bound(self, delta: float) -> float:
        return self.certificate(delta).epsilon

    def renyi(self, order: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        require_order(order)  # Rényi divergences rise with the order
        return self.capacity() / UNITS if order <= self.order and adjacency == "add-or-remove-one" else math.inf

    def tokens(self) -> dict[str, Cap]:
        law: dict[str, str | float | int] = {"law": "renyi filter", "order": self.order, "units": UNITS}
        return {RENYI_UNITS: Cap(law | ({"record": self.units} if self.units else {}), self.capacity())}

    def describe(self) -> str:
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
    require_order(order)
    if not 0 < delta < 1:
        raise ValueError(f"delta must be above 0 and below 1 for a Rényi budget; got {delta!r}.")
    return epsilon - math.log1p(-1 / order) + math.log(delta * order) / (order - 1)


def best_order(expected: Sequence[StepCap | EvaluationCap], epsilon: float, delta: float) -> float:
    """Return the order at which the expected releases, counts included, take the smallest share of a budget.

    ValueError if no order has any room at this budget.
    """
    counts = [(read(cap.event()), cap.num_steps if isinstance(cap, StepCap) else cap.count) for cap in expected]
    shares = {}
    for order in bounds.ALL_ORDERS:
        if order > 1.01 and (limit := renyi_limit(epsilon, delta, order)) > 0:  # below, the conversion is not stable
            cost = math.fsum(count * float(bounds.renyi(releases, [order])[0]) for releases, count in counts)
            shares[order] = cost / limit
    if not shares:
        raise ValueError(f"No Rényi order has room for ε = {epsilon:g} at δ = {delta:g}: give a larger budget.")
    return min(shares, key=lambda order: shares[order])


def renyi_budget(epsilon: float | None, delta: float, adjacency: Adjacency, order: float | None) -> tuple[float, float]:
    """Return the order and the Rényi limit of a budget for (ε, δ); without an order, one that suits DP fine-tuning.

    ValueError if no limit is proven for these terms, or the order leaves nothing of ε.
    """
    if not epsilon or not _SMALLEST_DELTA <= delta < 1:
        raise ValueError(f"Composition 'rdp' needs epsilon above 0 and delta in [{_SMALLEST_DELTA:g}, 1).")
    if adjacency != "add-or-remove-one":
        raise ValueError("Composition 'rdp' is proven for add-or-remove-one only: take composition 'sum'.")
    suggested = best_order(_TYPICAL, epsilon, delta)
    order = suggested if order is None else order
    if renyi_limit(epsilon, delta, order) <= 1 / UNITS:
        raise ValueError(
            f"At order {order:g} the conversion to (ε, δ) leaves nothing of ε = {epsilon:g}; order {suggested:g} suits."
        )
    return order, RenyiFilter(order=order, epsilon_limit=epsilon, delta=delta).capacity() / UNITS
