"""Plans whose trials all have one σ, q and T: their cost can be compared with that under every other rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from orchestrator.config.models import SweepConfig
from orchestrator.planning.alternatives import Curves, RuleOutlook, TextTable, trial_numbers
from orchestrator.planning.rules.base import Plan
from orchestrator.privacy.display import epsilon_text
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.comparison import COMPARED, MOST, RULE_NAMES, RuleCost, compare, curve
from orchestrator.privacy.rules.planned_sweep import PlannedSweep

_COUNTED = {"num_trials": "trials", "steps_per_trial": "steps", "evaluations_per_trial": "scores"}


@dataclass(frozen=True, repr=False)
class ComparedPlan(Plan):
    """A plan of trials that are alike."""

    rule: CostRule
    caps: PlannedSweep

    @property
    def rule_name(self) -> str | None:
        return self.rule.title if self.rule.title in COMPARED else None

    @property
    def compared(self) -> PlannedSweep:
        """The trials that are compared: with public tuning, what they would be on private data."""
        return self.caps.changed(num_trials=self.num_trials)

    @property
    def compared_rules(self) -> Sequence[str]:
        """The rules that make sense for it: all for a sweep, its own for a single run."""
        return RULE_NAMES if isinstance(self.config, SweepConfig) else (self.rule.title,)

    @cached_property
    def trial_epsilon(self) -> float:
        return self.caps.trial_caps().epsilon(self.config.privacy.delta, self.config.privacy.adjacency)

    def epsilon_by_other_rules(self) -> dict[str, float]:
        if self.caps.num_trials == 1 and not self.rule.is_secret:
            return {}
        rows = compare(self.caps, self.config.privacy.delta, adjacency=self.config.privacy.adjacency)
        return {row.rule: row.epsilon for row in rows if row.epsilon is not None and row.rule != self.rule_name}

    def outlook(self, limit: float | None) -> RulesOutlook:
        privacy, own = self.config.privacy, self.rule_name
        rows = compare(self.compared, privacy.delta, limit, privacy.adjacency, self.compared_rules, own)
        for row in rows:
            same = row.rule != own or math.isclose(row.epsilon or 0.0, self.epsilon, rel_tol=1e-6)
            assert same, "the comparison counts another plan"
        return RulesOutlook(rows)


@dataclass(frozen=True)
class RulesOutlook(RuleOutlook):
    """A plan under every rule, one row a rule."""

    field: ClassVar[str] = "rules"
    plot_title: ClassVar[str] = "what a search costs under every rule"
    trials_note: ClassVar[str] = " (their mean number where it is secret)"

    rows: tuple[RuleCost, ...]

    def to_json(self) -> tuple[RuleCost, ...]:
        return self.rows

    def parts(self, plan: Plan, limit: float | None) -> list[TextTable]:
        scored = plan.caps is not None and plan.caps.evaluations_per_trial > 0
        counted = [name for name in _COUNTED if limit is not None and (scored or name != "evaluations_per_trial")]
        title = f"ε of {f'these {plan.num_trials} trials' if plan.num_trials > 1 else 'this run'} under every rule"
        if limit is None:
            title += " (--within EPSILON shows what would fit)"
        else:
            title += f", and the most trials, or steps of each, within ε = {limit:g}"
        header = ("rule", "total ε", *(_COUNTED[name] for name in counted), "")
        rows = [
            (
                row.rule,
                "–" if row.epsilon is None else epsilon_text(row.epsilon),
                *(_count(row, name) for name in counted),
                COMPARED[row.rule].label,
            )
            for row in self.rows
        ]
        chosen = next((number for number, row in enumerate(self.rows) if row.rule == plan.rule_name), -1)
        return [TextTable(header, rows, title, chosen, num_labels=1)]

    def curves(self, plan: Plan) -> Curves:  # some ten seconds; two rules that cost the same have one curve
        assert isinstance(plan, ComparedPlan)
        numbers, privacy = trial_numbers(plan.num_trials, digits=(1, 2, 3, 5, 7)), plan.config.privacy
        curves = curve(plan.compared, privacy.delta, numbers, privacy.adjacency, plan.compared_rules)
        names: dict[Sequence[float | None], list[str]] = {}
        for name, values in curves.items():
            if any(values):
                names.setdefault(tuple(round(value, 6) if value else value for value in values), []).append(name)
        return Curves(numbers, {" = ".join(own): curves[own[0]] for own in names.values()})


def _count(row: RuleCost, name: str) -> str:
    count: int | None = getattr(row, name)
    if count is None:
        return "–" if row.epsilon is None or name not in COMPARED[row.rule].counted else "none"
    return f"{count:,}" + ("+" if count >= MOST[name] else "")
