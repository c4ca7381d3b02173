"""What trials cost that choose noise, batch and length for themselves: from a menu, or under a Rényi filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config.models import SweepConfig
from orchestrator.planning.cost_rules import planned_sweep, with_menu_entry
from orchestrator.planning.plan import Plan
from orchestrator.privacy.rules.comparison import MOST
from orchestrator.privacy.rules.fitting import largest_count
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.renyi_filter import UNITS, RenyiFilter, best_order

MOST_TRIALS = MOST["num_trials"]
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


def trial_numbers(planned_number: int, digits: Sequence[int] = (1, 2, 5)) -> list[int]:
    """Return numbers of trials around the planned one, about evenly on a log axis: those that begin with a digit."""
    top = min(MOST_TRIALS, max(100, 10 * planned_number))
    steps = [digit * 10**power for power in range(5) for digit in digits]
    return sorted({planned_number, *(number for number in steps if number <= top)})


def menu_outlook(plan: Plan, rule: Menu, limit: float | None) -> MenuOutlook:
    """Return entries and totals of a menu, and how many trials fit a limit."""
    privacy, config = plan.config.privacy, plan.config
    assert isinstance(config, SweepConfig)
    assert config.search.menu is not None
    entries = tuple(
        EntryCost(
            noise_multiplier=rule.entries[number].train_step.noise_multiplier,
            expected_batch_size=entry.expected_batch_size,
            num_steps=with_menu_entry(config, entry).method.num_steps,
            epsilon=rule.entries[number].epsilon(privacy.delta, privacy.adjacency),
        )
        for number, entry in enumerate(config.search.menu)
    )

    def total(num_trials: int) -> float:
        return rule.with_trials(num_trials).epsilon(privacy.delta, privacy.adjacency)

    totals = tuple((number, total(number)) for number in trial_numbers(rule.num_trials))
    fitting = None
    if limit is not None:
        fitting = largest_count(rule.with_trials, MOST_TRIALS, limit, privacy.delta, privacy.adjacency) or None
    return MenuOutlook(entries, totals, fitting)


def filter_outlook(plan: Plan, rule: RenyiFilter, limit: float | None) -> FilterOutlook:
    """Return the budget and the prices of a filter whose limit is given."""
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
    return planned_sweep(trial, trial.privacy.noise_multiplier)


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
