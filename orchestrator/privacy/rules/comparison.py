"""What a planned sweep costs under every rule, side by side, and how much of it fits a given ε.

Rules differ in what they let a search do, and in what they let leave. A table of both answers is what people need
before they choose. Rényi bounds bring each search near its answer, so that few privacy loss distributions remain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from orchestrator.privacy.accountant import bounds
from orchestrator.privacy.accountant.accountant import check_delta
from orchestrator.privacy.accountant.adjacency import Adjacency, require_adjacency
from orchestrator.privacy.rules.base import Frozen
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import PlannedSweep, SweepCaps
from orchestrator.privacy.rules.fitting import quick_cost
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.repetitions import NumberLaw, Repetitions

RuleName = Literal[
    "caps",
    "disjoint",
    "menu",
    "filter",
    "best, geometric",
    "best, logarithmic",
    "best, poisson",
    "public tuning",
]
RULE_NAMES: tuple[RuleName, ...] = RuleName.__args__
NOTES: dict[RuleName, str] = {
    "caps": "any search, everything may be published; unused steps are free for other trials",
    "disjoint": "as caps, with training and scores on disjoint private records",
    "menu": "any search over entries declared before; a trial is charged whole",
    "filter": "any search, free choice of noise, rate and length in each trial",
    "best, geometric": "independent trials, only the winner leaves, number of trials random and secret",
    "best, logarithmic": "the same; half of the time there are few trials",
    "best, poisson": "the same; the number of trials varies least, and may be 0",
    "public tuning": "all tuning on public data, then one run on the private data",
}
_LAWS: dict[RuleName, NumberLaw] = {
    "best, geometric": "geometric",
    "best, logarithmic": "logarithmic",
    "best, poisson": "poisson",
}
_Counted = Literal["num_trials", "steps_per_trial", "evaluations_per_trial"]
_LIMITS: dict[_Counted, int] = {"num_trials": 10_000, "steps_per_trial": 10**7, "evaluations_per_trial": 10**6}
_TOLERANCE = 0.005


class RuleCost(Frozen):
    """A plan under one rule: its ε, and the largest counts that fit a given ε, each with all else as planned.

    None: the rule does not apply to this plan, no count fits, or no ε was given. Under the best-of rules, the number of
    trials is the mean of the random number. Counts above 200 are up to 0.5 % below the largest, and never above
    10,000 trials, 10 million steps a trial and a million scores a trial.
    """

    rule: RuleName
    note: str
    epsilon: float | None
    num_trials: int | None = None
    steps_per_trial: int | None = None
    evaluations_per_trial: int | None = None


def compare(
    plan: PlannedSweep,
    delta: float,
    epsilon: float | None = None,
    adjacency: Adjacency = "add-or-remove-one",
    rules: Sequence[RuleName] = RULE_NAMES,
) -> tuple[RuleCost, ...]:
    """Return a plan's cost under each rule, and with `epsilon` given, how many trials, steps and scores would fit.

    Formal guarantees:
        Each ε, and the ε of each count that is said to fit, is certified for the rule as it stands; see the rules.
    """
    check_delta(delta)
    require_adjacency(adjacency)
    return tuple(_row(name, plan, delta, epsilon, adjacency) for name in rules)


def curve(
    plan: PlannedSweep,
    delta: float,
    num_trials: Sequence[int],
    adjacency: Adjacency = "add-or-remove-one",
    rules: Sequence[RuleName] = RULE_NAMES,
) -> dict[RuleName, list[float | None]]:
    """Return ε against the number of trials for each rule, to plot; None where a rule does not apply."""
    plans = [plan.changed(num_trials=number) for number in num_trials]
    return {name: [_finite(cost(name, changed, delta, adjacency)) for changed in plans] for name in rules}


def cost(name: RuleName, plan: PlannedSweep, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
    """Return the ε of a plan under one rule; inf where the rule does not apply.

    Spare tokens count under caps, disjoint and filter; a menu and a best-of search have none to share between trials.
    """
    if not _applies(name, plan, delta, adjacency):
        return math.inf
    if name == "menu":
        return Menu(entries=(plan.trial_caps(),), num_trials=plan.num_trials).epsilon(delta, adjacency)
    if name == "filter":
        return bounds.renyi_epsilon(_caps(name, plan).releases(adjacency)[0], delta)
    if name in _LAWS:
        return _best_of(name, plan).epsilon(delta, adjacency)
    return _caps(name, plan).epsilon(delta, adjacency)


def _row(name: RuleName, plan: PlannedSweep, delta: float, epsilon: float | None, adjacency: Adjacency) -> RuleCost:
    found = _finite(cost(name, plan, delta, adjacency))
    if epsilon is None or found is None:
        return RuleCost(rule=name, note=NOTES[name], epsilon=found)
    counted: list[_Counted] = ["steps_per_trial"]
    if name != "public tuning":
        counted.append("num_trials")
    if name != "public tuning" and plan.evaluations_per_trial:
        counted.append("evaluations_per_trial")
    fitting = {field: _fitting(name, plan, field, epsilon, delta, adjacency) for field in counted}
    return RuleCost(rule=name, note=NOTES[name], epsilon=found, **fitting)


def _applies(name: RuleName, plan: PlannedSweep, delta: float, adjacency: Adjacency) -> bool:
    if name == "disjoint":
        return adjacency == "add-or-remove-one" and plan.caps().evaluation is not None
    if name == "filter":
        return adjacency == "add-or-remove-one" and delta > 0
    return name not in _LAWS or plan.num_trials <= _LIMITS["num_trials"]


def _caps(name: RuleName, plan: PlannedSweep) -> SweepCaps:
    if name == "public tuning":
        return plan.changed(evaluations_per_trial=0, spare_evaluations=0).trial_caps()
    return plan.changed(disjoint=name == "disjoint").caps()


def _best_of(name: RuleName, plan: PlannedSweep) -> BestOf:
    return BestOf(trial=plan.trial_caps(), number=Repetitions(law=_LAWS[name], mean=float(plan.num_trials)))


def _bound(name: RuleName, plan: PlannedSweep, delta: float) -> float:
    """Return an upper bound on a rule's ε under add-or-remove-one, in milliseconds."""
    if name in _LAWS:
        return _best_of(name, plan).bound(delta)
    return quick_cost(
        plan.changed(spare_steps=0, spare_evaluations=0).caps() if name == "menu" else _caps(name, plan), delta
    )


def _fitting(
    name: RuleName, plan: PlannedSweep, field: _Counted, epsilon: float, delta: float, adjacency: Adjacency
) -> int | None:
    """Return the largest value of one field with which the plan fits, to the tolerance; None if not even 1 does."""

    def certified(value: int) -> float:
        return cost(name, plan.changed(**{field: value}), delta, adjacency)

    def bounded(value: int) -> float:
        if adjacency != "add-or-remove-one":
            return math.inf
        return _bound(name, plan.changed(**{field: value}), delta)

    limit = _LIMITS[field]
    sure = _largest(lambda value: bounded(value) <= epsilon, limit)
    return _climb(certified, sure, limit, epsilon) or None


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    """Return the largest value in [1, limit] that fits, 0 if none does, given that fitting only gets harder."""
    high = 1
    while high <= limit and fits(high):
        high *= 2
    low, high = high // 2, min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _climb(certified: Callable[[int], float], sure: int, limit: int, epsilon: float) -> int:
    """Return the largest value that fits, to the tolerance, from one that does (or 0), in a few tries.

    ε grows about as the root of a count: the next try is a little below where the power law through the last two points
    meets the budget, or a little above the last value that fitted; after six tries, halfway.
    """
    low, high, power, tries = sure, limit + 1, 0.5, 0
    low_cost = certified(low) if low else 0.0
    if low_cost > epsilon:  # a grid may round a hair above what the bound proves
        low, high, low_cost = 0, low, 0.0
    while high - low > max(1, _TOLERANCE * low):
        reach = low * (epsilon / low_cost) ** (1 / power) if low_cost > 0 else 1.0
        guess = max(low + 1, int(reach * (1 - 0.4 * _TOLERANCE)), int(low * (1 + 0.8 * _TOLERANCE)))
        guess = (low + high) // 2 if tries > 6 else min(guess, high - 1)
        tries, found = tries + 1, certified(guess)
        if found > low_cost > 0:
            power = min(1.0, max(0.1, math.log(found / low_cost) / math.log(guess / low)))
        if found <= epsilon:
            low, low_cost = guess, found
        else:
            high = guess
    return low


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
