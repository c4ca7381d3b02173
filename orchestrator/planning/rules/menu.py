"""A menu (`search.menu`): each trial takes one declared (σ, q, T), and is charged all of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from orchestrator.config.models import SweepConfig
from orchestrator.planning.alternatives import Curves, Facts, RuleOutlook, TextTable, trial_numbers
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.planning.rules.base import Plan, TokenDraw, require_trials_fit, with_noise
from orchestrator.privacy.display import epsilon_text
from orchestrator.privacy.rules.comparison import MOST
from orchestrator.privacy.rules.fitting import calibrate, largest_count
from orchestrator.privacy.rules.laws import EvaluationCap, Law, StepCap
from orchestrator.privacy.rules.menu import Menu, kind_of_entry
from search_spaces.config import MENU, MenuEntry
from search_spaces.trial_config import apply
from trainers.config import RunConfig


@dataclass(frozen=True, repr=False)
class MenuPlan(Plan):
    """A plan of trials that choose from a menu."""

    config: SweepConfig
    rule: Menu

    trial_epsilon_note: ClassVar[str] = " (the dearest entry)"

    @classmethod
    def counts(cls, config: RunConfig) -> bool:
        return isinstance(config, SweepConfig) and config.search.menu is not None

    @classmethod
    def make(cls, config: RunConfig) -> Self:
        assert isinstance(config, SweepConfig)
        caps = []
        for entry in config.search.menu or ():
            own = with_menu_entry(config, entry)
            sigma = entry.noise_multiplier or calibrate(
                lambda sigma, own=own: planned_sweep(own, sigma, num_trials=1).caps(),
                entry.epsilon or math.inf,
                config.privacy.delta,
                config.privacy.adjacency,
            )
            caps.append(
                planned_sweep(own, sigma, num_trials=1).caps()
            )  # trials share no spare steps: each has them all
        rule = Menu(entries=tuple(caps), num_trials=config.planned_trials)
        sigmas: dict[int | None, float] = {n: entry.train_step.noise_multiplier for n, entry in enumerate(caps)}
        return cls(config, rule, require_trials_fit(rule.with_trials, config), None, sigmas)

    @cached_property
    def trial_epsilon(self) -> float:
        privacy = self.config.privacy
        return max(entry.epsilon(privacy.delta, privacy.adjacency) for entry in self.rule.entries)

    def trial(self, values: Mapping[str, Any]) -> RunConfig:
        others = {name: value for name, value in values.items() if name != MENU}
        config = with_menu_entry(self.config, self._menu[values[MENU]])
        return apply(with_noise(config, self.noise_multipliers[values[MENU]]), others)

    def at_noise(self, noise_multipliers: Mapping[int | None, float]) -> Self:
        entries = [
            entry.model_copy(update={"noise_multiplier": noise_multipliers[number], "epsilon": None})
            for number, entry in enumerate(self._menu)
        ]
        search = self.config.search.model_copy(update={"menu": entries})
        privacy = self.config.privacy.model_copy(update={"epsilon": None})
        made = self.make(self.config.model_copy(update={"search": search, "privacy": privacy}))
        return replace(made, config=self.config)

    def _token_draw(self, kind: str, release: StepCap | EvaluationCap, law: Law, entry: int | None) -> TokenDraw:
        assert entry is not None
        return TokenDraw(kind_of_entry(kind, entry), 1, law)

    def outlook(self, limit: float | None) -> MenuOutlook:
        delta, adjacency = self.config.privacy.delta, self.config.privacy.adjacency
        entries = tuple(
            EntryCost(
                noise_multiplier=caps.train_step.noise_multiplier,
                expected_batch_size=entry.expected_batch_size,
                num_steps=entry.num_steps,
                epsilon=caps.epsilon(delta, adjacency),
            )
            for entry, caps in zip(self._menu, self.rule.entries, strict=True)
        )
        numbers = trial_numbers(self.rule.num_trials)
        totals = tuple((number, self.rule.with_trials(number).epsilon(delta, adjacency)) for number in numbers)
        if limit is None:
            return MenuOutlook(entries, totals, None)
        most = largest_count(self.rule.with_trials, MOST["num_trials"], limit, delta, adjacency)
        return MenuOutlook(entries, totals, most or None)

    @property
    def steps_text(self) -> str:
        return f"{self.num_trials} trials × one of {len(self.rule.entries)} entries"

    @property
    def _menu(self) -> list[MenuEntry]:
        return self.config.search.menu or []


@dataclass(frozen=True)
class EntryCost:
    """One entry of a menu: σ, B, T, and the ε of one trial of it by itself."""

    noise_multiplier: float
    expected_batch_size: float
    num_steps: int
    epsilon: float


@dataclass(frozen=True)
class MenuOutlook(RuleOutlook):
    """A menu's entries, its total ε by number of trials, and the largest number that fits (None: no limit, or none)."""

    field: ClassVar[str] = "menu"
    plot_title: ClassVar[str] = "what trials from the menu cost"

    entries: tuple[EntryCost, ...]
    totals: tuple[tuple[int, float], ...]
    num_trials: int | None

    def parts(self, plan: Plan, limit: float | None) -> list[TextTable | Facts]:
        entries = [(str(number), *_cells(entry)) for number, entry in enumerate(self.entries)]
        totals = [(f"{number:,}", epsilon_text(total)) for number, total in self.totals]
        planned = [number for number, _ in self.totals].index(plan.num_trials)
        parts: list[TextTable | Facts] = [
            TextTable(("entry", "σ", "B", "T", "ε of one trial"), entries),
            TextTable(("  trials", "total ε"), totals, chosen=planned),
        ]
        if limit is not None:
            fitting = "none" if self.num_trials is None else f"{self.num_trials:,}"
            parts.append(Facts((("trials that fit", f"{fitting} within ε = {limit:g}"),)))
        return parts

    def curves(self, plan: Plan) -> Curves:
        numbers, totals = zip(*self.totals, strict=True)
        return Curves(numbers, {"menu": totals})


def _cells(entry: EntryCost) -> tuple[str, ...]:
    sigma, batch = f"{entry.noise_multiplier:.4g}", f"{entry.expected_batch_size:g}"
    return sigma, batch, f"{entry.num_steps:,}", epsilon_text(entry.epsilon)


def with_menu_entry(config: RunConfig, entry: MenuEntry) -> RunConfig:
    method = config.method.model_copy(update={"num_steps": entry.num_steps})
    privacy = config.privacy.model_copy(update={"expected_batch_size": entry.expected_batch_size})
    return config.model_copy(update={"method": method, "privacy": privacy})
