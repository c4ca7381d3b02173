"""A rule in one file: caps that are charged twice, for configurations whose name begins with 'toy'."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from orchestrator.planning.alternatives import Curves, Facts, RuleOutlook
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.planning.rules.base import Plan, TokenDraw, require_trials_fit
from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.caps import SweepCaps
from trainers.config import RunConfig


class Twice(CostRule):
    """Caps whose ε is counted twice."""

    rule: Literal["twice"] = "twice"
    caps: SweepCaps

    @property
    def title(self) -> str:
        return "twice"

    @property
    def trial_kinds(self) -> tuple[SweepCaps, ...]:
        return (self.caps,)

    def certificate(self, delta, adjacency="add-or-remove-one") -> Certificate:
        found = self.caps.certificate(delta, adjacency)
        return found._replace(epsilon=2 * found.epsilon)

    def bound(self, delta: float) -> float:
        return 2 * self.caps.bound(delta)

    def renyi(self, order, adjacency="add-or-remove-one") -> float:
        return 2 * self.caps.renyi(order, adjacency)

    def tokens(self) -> dict[str, Cap]:
        return {kind: replace(cap, parameters={**cap.parameters, "toy": 1}) for kind, cap in self.caps.tokens().items()}

    def describe(self) -> str:
        return "Everything may be published, and is charged twice."


@dataclass(frozen=True)
class ToyPlan(Plan):
    """A plan that is charged twice."""

    rule: Twice

    @classmethod
    def counts(cls, config: RunConfig) -> bool:
        return config.name.startswith("toy")

    @classmethod
    def make(cls, config: RunConfig) -> Self:
        def rule(num_trials: int) -> Twice:
            return Twice(caps=planned_sweep(config, config.privacy.noise_multiplier, num_trials).caps())

        total = require_trials_fit(rule, config)
        return cls(config, rule(config.search.num_trials), total, None, {None: config.privacy.noise_multiplier})

    def _token_draw(self, kind, release, law, entry) -> TokenDraw:
        return TokenDraw(kind, 1, {**law, "toy": 1})

    def outlook(self, limit):
        return ToyOutlook(self.epsilon)

    @property
    def steps_text(self) -> str:
        return "as many as a toy takes"


@dataclass(frozen=True)
class ToyOutlook(RuleOutlook):
    """What a toy costs."""

    field: ClassVar[str] = "toy"
    plot_title: ClassVar[str] = "what a toy costs"
    total: float

    def parts(self, plan, limit):
        return [Facts([("toy", f"costs {self.total:.3g}")])]

    def curves(self, plan):
        return Curves([1, plan.num_trials], {"toy": [self.total / plan.num_trials, self.total]})
