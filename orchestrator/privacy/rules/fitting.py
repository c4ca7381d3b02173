"""What fits a budget: the smallest noise, or the largest count, with which a rule costs at most ε.

A privacy loss distribution takes up to seconds. So every search starts from the rule's bound, which takes milliseconds,
and certifies only near the answer. A refusal names the plans near by that fit: whoever must guess would guess with
private data on the table.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.calibration import smallest_that_fits
from orchestrator.privacy.display import round_up
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.planned_sweep import PlannedSweep


class FittingPlans(NamedTuple):
    """The nearest plans within a budget, each changing one thing; None where no such plan exists."""

    num_trials: int | None
    steps_per_trial: int | None
    noise_multiplier: float | None


def require_fits(
    plan: PlannedSweep, epsilon: float, delta: float, adjacency: Adjacency = "add-or-remove-one"
) -> Certificate:
    """Return the certified ε of a plan's caps; BudgetExceeded, with plans that would fit, if it is above `epsilon`."""
    found = plan.caps().certificate(delta, adjacency)
    if found.epsilon <= epsilon:
        return found
    message = (
        f"{_trials(plan.num_trials, plan.steps_per_trial)} at noise multiplier {plan.noise_multiplier:g}"
        f"{_extras(plan)} cost ε = {round_up(found.epsilon, 3):g} at δ = {delta:g}, over the budget of {epsilon:g}. "
        f"{_advice(plan, fitting_plans(plan, epsilon, delta, adjacency))}"
    )
    raise BudgetExceeded(message, spent=0.0, asked=found.epsilon, left=epsilon)


def fitting_plans(
    plan: PlannedSweep, epsilon: float, delta: float, adjacency: Adjacency = "add-or-remove-one"
) -> FittingPlans:
    """Return the largest number of trials, of steps a trial, and the smallest noise multiplier that fit a budget.

    The two numbers are exact and never above the plan's; the noise multiplier is rounded up to three digits. Each
    replaces the plan's own with all else unchanged.
    """

    def largest(field: str, asked: int) -> int | None:
        return largest_count(lambda n: plan.changed(**{field: n}).caps(), asked, epsilon, delta, adjacency) or None

    try:
        sigma = calibrate(lambda sigma: plan.changed(noise_multiplier=sigma).caps(), epsilon, delta, adjacency)
    except BudgetExceeded:
        sigma = None
    return FittingPlans(
        num_trials=largest("num_trials", plan.num_trials),
        steps_per_trial=largest("steps_per_trial", plan.steps_per_trial),
        noise_multiplier=None if sigma is None else round_up(sigma, 3),
    )


def calibrate(make: Callable[[float], CostRule], epsilon: float, delta: float, adjacency: Adjacency) -> float:
    """Return the smallest noise multiplier in [0.01, 1e6] with which a rule costs at most `epsilon`, to 0.1 %.

    `make` makes the rule of a noise multiplier; its ε must fall as the noise grows. BudgetExceeded if none fits.

    Formal guarantees:
        The rule of the result was certified to cost at most `epsilon`. Under replace-one the search starts from half
        the noise under add-or-remove-one, because replacing a record moves a sum by at most 2C; nothing rests on that.
    """

    def bound(noise_multiplier: float) -> float:
        return make(noise_multiplier / 2 if adjacency == "replace-one" else noise_multiplier).bound(delta)

    return smallest_that_fits(lambda sigma: make(sigma).epsilon(delta, adjacency), bound, epsilon, delta)


def largest_count(
    make: Callable[[int], CostRule], most: int, epsilon: float, delta: float, adjacency: Adjacency, tolerance: float = 0
) -> int:
    """Return the largest count in [1, most] with which a rule costs at most `epsilon`; 0 if not even 1 does.

    `make` makes the rule of a count; its ε must not fall as the count grows. The result may be below the largest by the
    tolerance, a share of it.

    Formal guarantees:
        The rule of a result above 0 was certified to cost at most `epsilon`.
    """
    sure = 0
    if adjacency == "add-or-remove-one":
        sure = _climb(lambda count: make(count).bound(delta), 0, most, epsilon, 0.0)
    return _climb(lambda count: make(count).epsilon(delta, adjacency), sure, most, epsilon, tolerance)


def _climb(cost: Callable[[int], float], sure: int, most: int, epsilon: float, tolerance: float) -> int:
    """Return the largest count that fits, to the tolerance, from one that does (or 0), in a few tries.

    ε grows about as the root of a count: the next try is a little below where the power law through the last two points
    meets the budget, or a little above the last count that fitted; after six tries, halfway.
    """
    low, high, power, tries = sure, most + 1, 0.5, 0
    low_cost = cost(low) if low else 0.0
    if low_cost > epsilon:  # a grid may round a hair above what the bound proves
        low, high, low_cost = 0, low, 0.0
    while high - low > max(1, tolerance * low):
        reach = low * min(epsilon / low_cost, 1e20) ** (1 / power) if low_cost > 0 else 1.0
        guess = max(low + 1, int(reach * (1 - 0.4 * tolerance)), int(low * (1 + 0.8 * tolerance)))
        guess = (low + high) // 2 if tries > 6 else min(guess, high - 1)
        tries, found = tries + 1, cost(guess)
        if found > low_cost > 0:
            power = min(1.0, max(0.1, math.log(found / low_cost) / math.log(guess / low)))
        if found <= epsilon:
            low, low_cost = guess, found
        else:
            high = guess
    return low


def _trials(num_trials: int, steps_per_trial: int) -> str:
    return f"{num_trials} trial{'s' if num_trials > 1 else ''} × {steps_per_trial} steps"


def _extras(plan: PlannedSweep) -> str:
    caps = plan.caps()
    extras = [f"{plan.spare_steps} spare steps"] if plan.spare_steps else []
    if caps.evaluation is not None:
        extras.append(
            f"{caps.evaluation.count} private evaluations at noise multiplier {caps.evaluation.noise_multiplier:g}"
        )
    return f" with {' and '.join(extras)}" if extras else ""


def _advice(plan: PlannedSweep, fitting: FittingPlans) -> str:
    ways = []
    if fitting.num_trials:
        ways.append(_trials(fitting.num_trials, plan.steps_per_trial))
    if fitting.steps_per_trial:
        ways.append(_trials(plan.num_trials, fitting.steps_per_trial))
    if fitting.noise_multiplier:
        ways.append(f"noise multiplier ≥ {fitting.noise_multiplier:g}")
    if not ways:
        return "No number of trials or steps and no noise multiplier fits: spend less on evaluations and spare steps."
    return f"What fits: {', or '.join(ways)}."
