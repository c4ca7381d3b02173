"""Best of (`release: best`): of a random and secret number of independent candidates, only the best leaves.

The proof is docs/proofs/best_of.md. Its formulas, with Q the base run, δ_Q its privacy profile, K the number of runs:
 - Truncated negative binomial: (ε + (η+1)·ln(e^ε̂ + (1−γ)/γ·δ_Q(ε̂)), E[K]·δ_Q(ε))-DP for every ε̂ ≥ 0.
 - Poisson: (ε + μ·(e^ε̂ − 1 + δ_Q(ε̂)), μ·δ_Q(ε))-DP, smallest at ε̂ = 0.
By Rényi DP: Papernot & Steinke (2022), Thm 2 and Thm 6, arXiv:2110.03620. The smaller ε counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from dp_accounting.rdp import rdp_privacy_accountant

from orchestrator.privacy.accountant import bounds
from orchestrator.privacy.accountant.accountant import Certificate, require_delta
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.distribution import discretisation, loss_distribution
from orchestrator.privacy.accountant.profile import Floats
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.base import CostRule, of_trials, require_order
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.repetitions import Repetitions

SECRET_NUM_TRIALS = "num_trials"  # under this name the number that was drawn is kept
RELEASED = (
    "the best trial alone: its weights, hyperparameters, score and log of noisy values. Not the number of trials, nor "
    "anything of the others, nor how long the search took: these stay with the operator"
)
_LARGEST_BASE = 300.0  # ε of the base run beyond which e^ε leaves room for nothing
_GOLDEN = (math.sqrt(5) - 1) / 2


class BestOf(CostRule):
    """K candidates, i.i.d. and each within `trial`; only the winner's weights, hyperparameters and score leave.

    Args:
        trial: what one candidate may release to the search: its steps, retries and scores. A score is part of the
            candidate: noisy (and in these caps) or on public data.
        number: the law of K.

    Formal guarantees:
        If the candidates' hyperparameters are drawn independently from a law fixed before (no adaptive sampler, no
        pruner, nothing shared between trials), K is drawn from `number` and both K and the losers stay secret, then the
        winner is (ε, δ)-DP with the ε of `certificate`: docs/proofs/best_of.md.
    """

    rule: Literal["best"] = "best"
    trial: SweepCaps
    number: Repetitions

    @property
    def title(self) -> str:
        return f"best, {self.number.law}"

    @property
    def trial_kinds(self) -> tuple[SweepCaps, ...]:
        return (self.trial,)

    @property
    def released(self) -> str:
        return RELEASED

    @property
    def is_secret(self) -> bool:
        return True

    @property
    def max_holders(self) -> int:
        return self.number.largest

    def draw_secret(self) -> dict[str, Any]:
        return {SECRET_NUM_TRIALS: self.number.draw_number()}

    def shown_caps(self) -> dict[str, int]:  # those of all candidates would tell how many there may be
        return self.trial.shown_caps()

    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        """Return the smaller of the two theorems' ε; at δ = 0 the pure one."""
        require_delta(delta)
        if delta == 0:
            base = self.trial.epsilon(0.0, adjacency)
            return Certificate(_pure(base, self.number), "pure ε of private selection", None)
        by_profile, by_renyi = self._by_profile(delta, adjacency), self._by_renyi(delta, adjacency)
        return by_renyi if by_profile is None or by_renyi.epsilon < by_profile.epsilon else by_profile

    def renyi(self, order: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        require_order(order)
        if adjacency != "add-or-remove-one":
            return math.inf
        orders = (order, *bounds.ALL_ORDERS)
        curve = self._renyi_curve(orders)
        return min(float(value) for known, value in zip(orders, curve, strict=True) if known >= order)  # it rises

    def bound(self, delta: float) -> float:
        if delta == 0:
            return self.certificate(delta).epsilon
        return bounds.from_renyi(bounds.FEW_ORDERS, self._renyi_curve(bounds.FEW_ORDERS), delta)

    def tokens(self) -> dict[str, Cap]:  # for as many trials as K can ever be, which tells nothing about K
        return of_trials(self.trial.tokens(), self.number.largest)

    def with_trials(self, num_trials: int) -> BestOf:
        """Return the same search with another mean of the number of trials."""
        return self.model_copy(update={"number": self.number.model_copy(update={"mean": float(num_trials)})})

    def describe(self) -> str:
        return (
            f"Only the best of K independently drawn trials leaves, K drawn from a {self.number.law} law of mean "
            f"{self.number.mean:g} and kept secret with all that the other trials did; each trial has at most "
            f"{self.trial.train_step.num_steps:,} training steps"
            f"{f' and {self.trial.evaluation.count:,} noisy scores' if self.trial.evaluation else ''}."
        )

    def _by_profile(self, delta: float, adjacency: Adjacency) -> Certificate | None:
        """Return ε by the profile form; None where the base run has no loss distribution."""
        sides = self.trial.releases(adjacency)
        found = [loss_distribution(side, discretisation(side), adjacency) for side in sides]
        losses = [distribution for distribution in found if distribution is not None]
        if len(losses) < len(sides):
            return None
        base = max(0.0, *(float(side.get_epsilon_for_delta(delta / self.number.mean)) for side in losses))
        if base > _LARGEST_BASE:
            return None
        epsilon = base + _penalty(self.number, _larger_profile(losses), base)
        grid = max(discretisation(side) for side in sides)
        return Certificate(epsilon, "private selection by the base run's PLD", grid)

    def _by_renyi(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        epsilon = bounds.from_renyi(bounds.ALL_ORDERS, self._renyi_curve(bounds.ALL_ORDERS, adjacency), delta)
        return Certificate(epsilon, "private selection by RDP", None)

    def _renyi_curve(self, orders: Sequence[float], adjacency: Adjacency = "add-or-remove-one") -> Floats:
        base = np.max([bounds.renyi(side, orders, adjacency) for side in self.trial.releases(adjacency)], axis=0)
        form = _poisson_renyi if self.number.law == "poisson" else _negative_binomial_renyi
        return form(np.array(orders), base, self.number)


def _pure(base: float, number: Repetitions) -> float:
    return base + (number.mean * math.tanh(base / 2) if number.law == "poisson" else (number.eta + 1) * base)


def _penalty(number: Repetitions, profile: Callable[[float], float], base: float) -> float:
    """Return the smallest c of the module's docstring that a search over ε̂ finds; every one it tries is valid."""
    if number.law == "poisson":
        return number.mean * profile(0.0)
    odds = (1 - number.gamma) / number.gamma

    def factor(epsilon: float) -> float:
        return math.exp(epsilon) + odds * profile(epsilon)

    return (number.eta + 1) * math.log(_minimum(factor, 0.0, math.log(factor(base))))


def _minimum(cost: Callable[[float], float], low: float, high: float) -> float:
    """Return the least value met by a golden-section search: of a function that falls, then rises, its minimum."""
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    values = [cost(x) for x in inner]
    least = min(cost(low), cost(high), *values)
    while high - low > 1e-6:
        if values[0] <= values[1]:
            high, inner[1], values[1] = inner[1], inner[0], values[0]
            inner[0] = high - _GOLDEN * (high - low)
            values[0] = cost(inner[0])
        else:
            low, inner[0], values[0] = inner[0], inner[1], values[1]
            inner[1] = low + _GOLDEN * (high - low)
            values[1] = cost(inner[1])
        least = min(least, *values)
    return least


def _larger_profile(losses: Sequence[PrivacyLossDistribution]) -> Callable[[float], float]:
    """Return δ(ε) of what any one record may see: the largest over sides and directions."""
    return lambda epsilon: max(float(side.get_delta_for_epsilon(epsilon)) for side in losses)


def _negative_binomial_renyi(orders: Floats, base: Floats, number: Repetitions) -> Floats:
    """Thm 2: ε + (1+η)·min_λ̂ ((1 − 1/λ̂)ε̂ + ln(1/γ)/λ̂) + ln E[K]/(λ−1) at each order λ; λ̂ = 1 included."""
    least = min(-math.log(number.gamma), np.min((1 - 1 / orders) * base - math.log(number.gamma) / orders))
    return base + (1 + number.eta) * least + math.log(number.mean) / (orders - 1)


def _poisson_renyi(orders: Floats, base: Floats, number: Repetitions) -> Floats:
    """Thm 6: ε + μδ̂ + ln(μ)/(λ−1), the base run being (ln(λ/(λ−1)), δ̂)-DP; with the output "none" (e^−μ) added up."""
    known = list(orders), list(base)
    slack = [rdp_privacy_accountant.compute_delta(*known, math.log1p(1 / (order - 1)))[0] for order in orders]
    exponent = (orders - 1) * (base + number.mean * np.array(slack)) + math.log(number.mean)
    return np.logaddexp(exponent, -number.mean) / (orders - 1)
