"""Does a planned sweep fit its budget, and if not, which plans near it would?

A refusal that only says "too much" sends people guessing with private data on the table. This one does the arithmetic
for them: fewer trials, shorter trials, or more noise, each certified by the accountant before it is suggested.
"""

from __future__ import annotations

from collections.abc import Callable

import dp_accounting as dp
from pydantic import BaseModel, ConfigDict

from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.bounds import pure_epsilon, quick_epsilon
from orchestrator.privacy.accountant.calibration import calibrate_noise_multiplier
from orchestrator.privacy.display import round_up
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.rules.caps import PlannedSweep, SweepCaps


class FittingPlans(BaseModel):
    """The nearest plans within a budget, each changing one thing; None where no such plan exists."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_trials: int | None
    steps_per_trial: int | None
    noise_multiplier: float | None


def require_fits(
    plan: PlannedSweep, epsilon: float, delta: float, adjacency: Adjacency = "add-or-remove-one"
) -> Certificate:
    """Return the certified ε of a plan's caps, or refuse with the plans that would fit.

    Raises:
        BudgetExceeded: if the caps cost more than `epsilon` at `delta`; nothing has been charged.
    """
    found = plan.caps().certificate(delta, adjacency)
    if found.epsilon <= epsilon:
        return found
    fitting = fitting_plans(plan, epsilon, delta, adjacency)
    message = (
        f"{_trials(plan.num_trials, plan.steps_per_trial)} at noise multiplier {plan.noise_multiplier:g}"
        f"{_extras(plan)} cost ε = {round_up(found.epsilon, 3):g} at δ = {delta:g}, over the budget of {epsilon:g}. "
        f"{_advice(plan, fitting)}"
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
        def fits(value: int, certified: bool) -> bool:
            caps = plan.changed(**{field: value}).caps()
            if certified:
                return caps.epsilon(delta, adjacency) <= epsilon
            return adjacency == "add-or-remove-one" and quick_cost(caps, delta) <= epsilon

        sure = _largest(lambda n: fits(n, certified=False), 0, asked + 1)
        found = _largest(lambda n: fits(n, certified=True), sure, asked + 1)
        return found or None

    def sides(noise_multiplier: float) -> tuple[dp.DpEvent, ...]:
        return plan.changed(noise_multiplier=noise_multiplier).caps().sides()

    try:
        noise_multiplier = round_up(calibrate_noise_multiplier(sides, epsilon, delta, adjacency), 3)
    except BudgetExceeded:
        noise_multiplier = None
    return FittingPlans(
        num_trials=largest("num_trials", plan.num_trials),
        steps_per_trial=largest("steps_per_trial", plan.steps_per_trial),
        noise_multiplier=noise_multiplier,
    )


def quick_cost(caps: SweepCaps, delta: float) -> float:
    """Return an upper bound on the ε of caps under add-or-remove-one, in milliseconds."""
    sides = caps.releases("add-or-remove-one")
    return max(pure_epsilon(side) if delta == 0 else quick_epsilon(side, delta) for side in sides)


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest n in [low, high) that fits, given that `low` does (or is 0) and fitting only gets harder.

    Gallops upwards from `low`, because a bound has already brought it near.
    """
    stride = max(1, low // 16)
    while low + stride < high:
        if not fits(low + stride):
            high = low + stride
            break
        low, stride = low + stride, 2 * stride
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
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
    return "".join(f" with {extra}" if i == 0 else f" and {extra}" for i, extra in enumerate(extras))


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
