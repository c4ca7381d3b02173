"""What a run or a sweep will cost in privacy and in work, known before anything private is touched.

A plan fixes the rule by which the search is counted (counting.py) and σ. Where the configuration gives epsilon alone, σ
is calibrated so that the rule's certified epsilon fits it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.planning.cost_rules import cost_rule, one_trial, planned_sweep, with_menu_entry
from orchestrator.planning.work_estimate import Estimate, estimate
from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.display import round_up
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.fitting import calibrate, largest_count, require_fits
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from search_spaces.config import MENU, MenuEntry
from search_spaces.space import apply
from trainers.config import RunConfig
from trainers.methods.catalogue import METHODS


@dataclass(frozen=True)
class Plan:
    """A run or sweep, the rule that counts it, and its certified epsilon.

    Args:
        config: what is planned.
        rule: what may be released, and its price; None for a method without privacy.
        total: the certified epsilon of the rule: the number to report; None without privacy.
        caps: trials, steps and scores, where all trials have one σ, q and T; None under a menu or a filter.
        noise_multipliers: σ by number of menu entry, by None where there is no menu; empty where trials have their own.
    """

    config: RunConfig
    rule: CostRule | None
    total: Certificate | None
    caps: PlannedSweep | None
    noise_multipliers: Mapping[int | None, float]

    @property
    def num_trials(self) -> int:
        """Trials of a sweep (their mean number where it is secret), 1 for a single run."""
        return self.config.search.num_trials if isinstance(self.config, SweepConfig) else 1

    @property
    def noise_multiplier(self) -> float | None:
        """σ, given or calibrated; None without privacy, and where each trial has its own."""
        return self.noise_multipliers.get(None)

    @property
    def epsilon(self) -> float:
        """The total epsilon; infinite without privacy."""
        return self.total.epsilon if self.total else math.inf

    @cached_property
    def trial_epsilon(self) -> float:
        """Epsilon of one complete trial by itself (of a menu's dearest); infinite without privacy or under a filter."""
        if isinstance(self.rule, Menu):
            return max(entry.epsilon(self.config.privacy.delta, self._adjacency) for entry in self.rule.entries)
        if self.caps is None:
            return math.inf
        return self.caps.trial_caps().epsilon(self.config.privacy.delta, self._adjacency)

    @cached_property
    def estimate(self) -> Estimate:
        """Work of all trials."""
        return estimate(self.config, self.num_trials * self.config.method.num_steps, self.concurrent)

    @property
    def concurrent(self) -> int:
        """Trials at once."""
        return self.config.search.concurrent_trials if isinstance(self.config, SweepConfig) else 1

    def trial(self, values: Mapping[str, Any]) -> RunConfig:
        """Return the run of one trial: the search's values in place of the configuration's, and its σ."""
        values = dict(values)
        number: int | None = values.pop(MENU, None)
        config = self.config
        if number is not None:
            config = with_menu_entry(config, _menu_of(config)[number])
        if number in self.noise_multipliers:
            privacy = config.privacy.model_copy(update={"noise_multiplier": self.noise_multipliers[number]})
            config = config.model_copy(update={"privacy": privacy})
        return apply(config, values, filtered=isinstance(config, SweepConfig) and config.search.filter is not None)

    def epsilon_after(self, trial: RunConfig, steps: int) -> float:
        """Return the epsilon of `steps` training steps and a trial's private scores: a trial's own, by itself."""
        if self.rule is None or trial.privacy.noise_multiplier is None:
            return math.inf
        own = planned_sweep(trial, trial.privacy.noise_multiplier)
        if steps == 0 and not own.evaluations_per_trial:
            return 0.0
        return own.changed(steps_per_trial=max(1, steps)).trial_caps().epsilon(trial.privacy.delta, self._adjacency)

    @property
    def _adjacency(self) -> Any:
        return self.config.privacy.adjacency


def finite_or_none(epsilon: float) -> float | None:
    """Return an epsilon as JSON can hold it: an infinite one is null."""
    return epsilon if math.isfinite(epsilon) else None


def make_plan(config: LedgeredConfig | RunConfig) -> Plan:
    """Return the plan of a configuration, with σ calibrated where it is not given.

    Raises:
        BudgetExceeded: the given σ, or any σ, costs more than privacy.epsilon; the message says what would fit.
    """
    if not METHODS[config.method.name].private:
        return Plan(config, None, None, None, {})
    privacy = config.privacy
    search = config.search if isinstance(config, SweepConfig) else None
    if search is not None and search.filter is not None:
        given: dict[int | None, float] = {} if privacy.noise_multiplier is None else {None: privacy.noise_multiplier}
        rule = cost_rule(config, given)
        return Plan(config, rule, rule.certificate(privacy.delta, privacy.adjacency), None, given)
    if search is not None and search.menu is not None:
        return _menu_plan(config, search.menu)
    sigma = privacy.noise_multiplier or _calibrated(config)
    caps = planned_sweep(config, sigma)
    sigmas: dict[int | None, float] = {None: caps.noise_multiplier}  # in whole units of the noise
    rule = cost_rule(config, sigmas)
    if isinstance(rule, SweepCaps):
        total = require_fits(caps, privacy.epsilon or math.inf, privacy.delta, privacy.adjacency)
    else:
        assert isinstance(rule, BestOf)
        total = _require_room(rule, config)
    return Plan(config, rule, total, caps, sigmas)


def _menu_of(config: RunConfig) -> list[MenuEntry]:
    assert isinstance(config, SweepConfig)
    assert config.search.menu is not None
    return config.search.menu


def _menu_plan(config: RunConfig, menu: list[MenuEntry]) -> Plan:
    sigmas: dict[int | None, float] = {}
    for number, entry in enumerate(menu):
        own = with_menu_entry(config, entry)
        sigmas[number] = entry.noise_multiplier or _of_one_trial(own, entry.epsilon or math.inf)
    rule = cost_rule(config, sigmas)
    assert isinstance(rule, Menu)
    in_units: dict[int | None, float] = {i: entry.train_step.noise_multiplier for i, entry in enumerate(rule.entries)}
    return Plan(config, rule, _require_room(rule, config), None, in_units)


def _require_room(rule: Menu | BestOf, config: RunConfig) -> Certificate:
    """Return what a rule costs, or refuse with the number of trials that fits."""
    privacy, limit = config.privacy, config.privacy.epsilon or math.inf
    total = rule.certificate(privacy.delta, privacy.adjacency)
    if total.epsilon <= limit:
        return total
    assert isinstance(config, SweepConfig)
    most = config.search.num_trials - 1
    low = largest_count(rule.with_trials, most, limit, privacy.delta, privacy.adjacency)
    fitting = f"search.num_trials {low} would fit" if low else "not even one trial would fit"
    raise BudgetExceeded(
        f"search.num_trials {config.search.num_trials} costs ε = {round_up(total.epsilon, 3):g} at δ = "
        f"{privacy.delta:g}, over privacy.epsilon {limit:g}; {fitting}, or shorter trials, or more noise.",
        spent=0.0,
        asked=total.epsilon,
        left=limit,
    )


def _of_one_trial(config: RunConfig, epsilon: float) -> float:
    """Return σ with which one trial, its spare steps and scores included, costs epsilon by itself."""
    privacy = config.privacy
    return calibrate(lambda sigma: one_trial(config, sigma), epsilon, privacy.delta, privacy.adjacency)


def _calibrated(config: RunConfig) -> float:
    """Return the smallest σ with which the rule of a configuration fits privacy.epsilon."""
    privacy = config.privacy
    assert privacy.epsilon is not None  # RunConfig requires epsilon or σ
    return calibrate(lambda sigma: cost_rule(config, {None: sigma}), privacy.epsilon, privacy.delta, privacy.adjacency)
