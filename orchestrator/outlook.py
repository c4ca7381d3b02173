"""The plan both ways: what it would cost under every rule, and how many trials, steps and scores fit a given ε.

Nothing here reads a private row. It takes seconds, and so belongs to `dpzo plan` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.budget_outlook import BudgetOutlook, budget_outlook
from orchestrator.config import SweepConfig
from orchestrator.counting import planned, with_entry
from orchestrator.planning import Plan
from orchestrator.privacy.best_of import BestOf
from orchestrator.privacy.comparison import RULE_NAMES, RuleCost, RuleName, compare
from orchestrator.privacy.composition import PlannedSweep
from orchestrator.privacy.menu import Menu
from orchestrator.privacy.renyi_filter import UNITS, RenyiFilter, best_order

MOST_TRIALS = 10_000
_SIGMA, _BATCH = "privacy.noise_multiplier", "privacy.expected_batch_size"


@dataclass(frozen=True)
class EntryCost:
    """One entry of a menu: σ, B, T, and the ε of one trial of it by itself."""

    noise_multiplier: float
    expected_batch_size: float
    num_steps: int
    epsilon: float


@dataclass(frozen=True)
class MenuOutlook:
    """A menu's entries, its total ε by number of trials, and the largest number that fits (None: no limit, or none)."""

    entries: tuple[EntryCost, ...]
    totals: tuple[tuple[int, float], ...]
    num_trials: int | None


@dataclass(frozen=True)
class TrialPrice:
    """What a filter charges for one step and for one trial, in Rényi ε, and how many fit the whole budget."""

    noise_multiplier: float
    expected_batch_size: float
    num_steps: int
    step: float
    score: float | None
    steps_that_fit: int
    trials_that_fit: int


@dataclass(frozen=True)
class FilterOutlook:
    """A filter's Rényi budget at its order, the prices of the dearest and the cheapest trial, and an order that suits.

    Where σ and B do not vary there is one price.
    """

    order: float
    capacity: float
    prices: tuple[TrialPrice, ...]
    suggested_order: float


@dataclass(frozen=True)
class Outlook:
    """What a plan could be.

    Args:
        limit: the ε that has to fit, None where none is given.
        rules: the plan under every rule; empty under a menu or a filter.
        chosen: the rule that counts this plan; None where the comparison has no row for it.
        menu: where trials choose from a menu.
        filter: where prices add up at one Rényi order.
        budget: what the named budget has left; None where none is named.
    """

    limit: float | None
    rules: tuple[RuleCost, ...] = ()
    chosen: RuleName | None = None
    menu: MenuOutlook | None = None
    filter: FilterOutlook | None = None
    budget: BudgetOutlook | None = None


def look(plan: Plan, within: float | None = None) -> Outlook:
    """Return what a private plan would cost under every rule, and what fits `within` (privacy.epsilon when None).

    Raises:
        ValueError: the plan has no privacy, or `within` is not above 0.
    """
    if plan.rule is None:
        raise ValueError("this method has no privacy (ε = ∞): there are no rules to compare, and nothing fits an ε")
    if within is not None and not 0 < within < math.inf:
        raise ValueError(f"--within is an ε above 0; got {within:g}")
    limit = plan.config.privacy.epsilon if within is None else within
    budget = budget_outlook(plan)
    if isinstance(plan.rule, Menu):
        return Outlook(limit, chosen="menu", menu=_menu(plan, plan.rule, limit), budget=budget)
    if isinstance(plan.rule, RenyiFilter):
        return Outlook(limit, chosen="filter", filter=_filter(plan, plan.rule, limit), budget=budget)
    chosen = chosen_rule(plan)
    return Outlook(limit, _rules(plan, chosen, limit), chosen, budget=budget)


def chosen_rule(plan: Plan) -> RuleName | None:
    """Return the comparison's name of the rule that counts a plan with caps; None for the negative binomial law."""
    if isinstance(plan.rule, BestOf):
        return next((name for name in RULE_NAMES if name == f"best, {plan.rule.number.law}"), None)
    if isinstance(plan.config, SweepConfig) and plan.config.search.tune_on is not None:
        return "public tuning"
    return "disjoint" if plan.caps is not None and plan.caps.disjoint else "caps"


def compared(plan: Plan) -> PlannedSweep:
    """Return the trials that are compared: with public tuning, what they would be on private data."""
    assert plan.caps is not None
    return plan.caps.changed(num_trials=plan.num_trials)


def compared_rules(plan: Plan) -> tuple[RuleName, ...]:
    """Return the rules that make sense for a plan: all for a sweep, its own for a single run."""
    if isinstance(plan.config, SweepConfig):
        return RULE_NAMES
    return ("disjoint",) if plan.caps is not None and plan.caps.disjoint else ("caps",)


def trial_numbers(planned_number: int, digits: Sequence[int] = (1, 2, 5)) -> list[int]:
    """Return numbers of trials around the planned one, about evenly on a log axis: those that begin with a digit."""
    top = min(MOST_TRIALS, max(100, 10 * planned_number))
    steps = [digit * 10**power for power in range(5) for digit in digits]
    return sorted({planned_number, *(number for number in steps if number <= top)})


def _rules(plan: Plan, chosen: RuleName | None, limit: float | None) -> tuple[RuleCost, ...]:
    privacy = plan.config.privacy
    rows = compare(compared(plan), privacy.delta, limit, privacy.adjacency, compared_rules(plan))
    return tuple(_own_row(plan, row, limit) if row.rule == chosen else row for row in rows)


def _own_row(plan: Plan, row: RuleCost, limit: float | None) -> RuleCost:
    """Return the row of the rule that counts the plan.

    The comparison knows spare tokens as shared between trials. Where every trial has its own, or there is one, they are
    steps and scores of a trial like others.
    """
    own, privacy = compared(plan), plan.config.privacy
    if row.rule not in ("caps", "disjoint") and (own.spare_steps or own.spare_evaluations):
        spare = {"spare_steps": 0, "spare_evaluations": 0}
        steps, scores = own.steps_per_trial + own.spare_steps, own.evaluations_per_trial + own.spare_evaluations
        whole = own.changed(steps_per_trial=steps, evaluations_per_trial=scores, **spare)
        (row,) = compare(whole, privacy.delta, limit, privacy.adjacency, (row.rule,))
        fitting = {
            "steps_per_trial": _less(row.steps_per_trial, own.spare_steps),
            "evaluations_per_trial": _less(row.evaluations_per_trial, own.spare_evaluations),
        }
        row = row.model_copy(update=fitting)
    assert row.epsilon is not None
    assert math.isclose(row.epsilon, plan.epsilon, rel_tol=1e-6), "the comparison counts another plan"
    return row


def _less(count: int | None, spare: int) -> int | None:
    return count - spare if count is not None and count > spare else None


def _menu(plan: Plan, rule: Menu, limit: float | None) -> MenuOutlook:
    privacy, config = plan.config.privacy, plan.config
    assert isinstance(config, SweepConfig)
    assert config.search.menu is not None
    entries = tuple(
        EntryCost(
            noise_multiplier=rule.entries[number].train_step.noise_multiplier,
            expected_batch_size=entry.expected_batch_size,
            num_steps=with_entry(config, entry).method.num_steps,
            epsilon=rule.entries[number].epsilon(privacy.delta, privacy.adjacency),
        )
        for number, entry in enumerate(config.search.menu)
    )

    def total(num_trials: int) -> float:
        return rule.with_trials(num_trials).epsilon(privacy.delta, privacy.adjacency)

    totals = tuple((number, total(number)) for number in trial_numbers(rule.num_trials))
    fitting = None if limit is None else _largest(lambda number: total(number) <= limit, totals, limit)
    return MenuOutlook(entries, totals, fitting)


def _largest(fits: Callable[[int], bool], known: Sequence[tuple[int, float]], limit: float) -> int | None:
    """Return the largest number of trials that fits, from totals that are known; None if not even one does."""
    low = max((number for number, total in known if total <= limit), default=0)
    high = min((number for number, total in known if total > limit), default=MOST_TRIALS + 1)
    while high - low > 1:
        middle = min(2 * low, (low + high) // 2) if low else (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low or None


def _filter(plan: Plan, rule: RenyiFilter, limit: float | None) -> FilterOutlook:
    assert limit is not None  # SweepConfig requires epsilon under a filter
    rule = rule.model_copy(update={"epsilon_limit": limit})
    config = plan.config
    assert isinstance(config, SweepConfig)
    assert config.search.filter is not None
    space = config.search.filter.space.root
    ends = {name: [float(end) for end in space[name].ends] for name in (_SIGMA, _BATCH) if name in space}  # type: ignore[arg-type]
    dearest = {name: min(values) if name == _SIGMA else max(values) for name, values in ends.items()}
    cheapest = {name: max(values) if name == _SIGMA else min(values) for name, values in ends.items()}
    trials = [_own(plan, values) for values in ([dearest, cheapest] if ends else [{}])]
    expected = trials[-1].caps()
    releases = [expected.train_step, *([expected.evaluation] if expected.evaluation else [])]
    return FilterOutlook(
        order=rule.order,
        capacity=rule.capacity() / UNITS,
        prices=tuple(_price(rule, trial, config) for trial in trials),
        suggested_order=best_order(releases, limit, rule.delta),
    )


def _own(plan: Plan, values: dict[str, float]) -> PlannedSweep:
    trial = plan.trial(values)
    assert trial.privacy.noise_multiplier is not None  # given, or searched
    return planned(trial, trial.privacy.noise_multiplier)


def _price(rule: RenyiFilter, trial: PlannedSweep, config: SweepConfig) -> TrialPrice:
    caps = trial.trial_caps()
    step = rule.price(caps.train_step)
    score = None if caps.evaluation is None else rule.price(caps.evaluation)
    whole = step * trial.steps_per_trial + (score or 0) * trial.evaluations_per_trial
    return TrialPrice(
        noise_multiplier=trial.noise_multiplier,
        expected_batch_size=round(trial.sampling_prob * config.num_training_units, 6),
        num_steps=trial.steps_per_trial,
        step=step / UNITS,
        score=None if score is None else score / UNITS,
        steps_that_fit=rule.capacity() // step,
        trials_that_fit=rule.capacity() // whole,
    )
