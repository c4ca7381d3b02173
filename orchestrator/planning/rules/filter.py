"""A filter (`search.filter`): each trial has its own σ, q and T, and its releases pay until the ε is spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from orchestrator.config.models import SweepConfig
from orchestrator.planning.alternatives import Curves, Facts, RuleOutlook, TextTable, trial_numbers
from orchestrator.planning.planned_sweep import planned_sweep, units_of
from orchestrator.planning.rules.base import Plan, TokenDraw, with_noise
from orchestrator.privacy.display import rounded_down
from orchestrator.privacy.rules.laws import EvaluationCap, Law, StepCap
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.renyi_filter import RENYI_UNITS, UNITS, RenyiFilter, best_order
from search_spaces.trial_config import apply
from trainers.config import RunConfig

_SIGMA, _BATCH = "privacy.noise_multiplier", "privacy.expected_batch_size"


@dataclass(frozen=True, repr=False)
class FilterPlan(Plan):
    """A plan of trials that pay by their price."""

    config: SweepConfig
    rule: RenyiFilter

    @classmethod
    def counts(cls, config: RunConfig) -> bool:
        return isinstance(config, SweepConfig) and config.search.filter is not None

    @classmethod
    def make(cls, config: RunConfig) -> Self:
        assert isinstance(config, SweepConfig)
        assert config.search.filter is not None
        privacy = config.privacy
        assert privacy.epsilon is not None  # SweepConfig requires it
        order, units = config.search.filter.order, units_of(config)
        rule = RenyiFilter(order=order, epsilon_limit=privacy.epsilon, delta=privacy.delta, units=units)
        given: dict[int | None, float] = {} if privacy.noise_multiplier is None else {None: privacy.noise_multiplier}
        return cls(config, rule, rule.certificate(privacy.delta, privacy.adjacency), None, given)

    def trial(self, values: Mapping[str, Any]) -> RunConfig:
        return apply(with_noise(self.config, self.noise_multiplier), dict(values), filtered=True)

    def _token_draw(self, kind: str, release: StepCap | EvaluationCap, law: Law, entry: int | None) -> TokenDraw:
        return TokenDraw(RENYI_UNITS, self.rule.price(release), None)

    def outlook(self, limit: float | None) -> FilterOutlook:
        assert limit is not None  # SweepConfig requires epsilon under a filter
        rule = self.rule.model_copy(update={"epsilon_limit": limit})
        assert self.config.search.filter is not None
        space = self.config.search.filter.space.root
        ends = {name: [float(end) for end in space[name].ends] for name in (_SIGMA, _BATCH) if name in space}  # type: ignore[arg-type]
        dearest = {name: min(values) if name == _SIGMA else max(values) for name, values in ends.items()}
        cheapest = {name: max(values) if name == _SIGMA else min(values) for name, values in ends.items()}
        trials = [self._planned(values) for values in ([dearest, cheapest] if ends else [{}])]
        expected = trials[-1].caps()
        releases = [release for release in (expected.train_step, expected.evaluation) if release is not None]
        return FilterOutlook(
            order=rule.order,
            capacity=rule.capacity() / UNITS,
            prices=tuple(_price(rule, trial, self.config.num_training_units) for trial in trials),
            suggested_order=best_order(releases, limit, rule.delta),
        )

    @property
    def steps_text(self) -> str:
        return f"{self.num_trials} trials × at most {self.config.method.num_steps}, until ε is spent"

    def _planned(self, values: Mapping[str, float]) -> PlannedSweep:
        trial = self.trial(values)
        assert trial.privacy.noise_multiplier is not None  # given, or searched
        return planned_sweep(trial, trial.privacy.noise_multiplier, num_trials=1)


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
class FilterOutlook(RuleOutlook):
    """A filter's Rényi budget at its order, the prices of the dearest and the cheapest trial, and an order that suits.

    Where σ and B do not vary there is one price.
    """

    field: ClassVar[str] = "filter"
    plot_title: ClassVar[str] = "what the filter charges"
    marks_plan: ClassVar[bool] = False

    order: float
    capacity: float
    prices: tuple[TrialPrice, ...]
    suggested_order: float

    def parts(self, plan: Plan, limit: float | None) -> list[TextTable | Facts]:
        better = f"order {self.suggested_order:g} would fit the most trials"
        budget = f"{rounded_down(self.capacity)} at order {self.order:g}, for ε = {limit:g}"
        order = "fits the most trials" if self.suggested_order == self.order else better
        header = ("σ", "B", "T", "a step", "a score", "steps that fit", "trials")
        title = "Rényi ε" + (" of the dearest and of the cheapest trial" if len(self.prices) > 1 else " of a trial")
        return [
            Facts([("Rényi budget", budget), ("order", order)]),
            TextTable(header, [_cells(price) for price in self.prices], title),
        ]

    def curves(self, plan: Plan) -> Curves:
        assert isinstance(plan, FilterPlan)
        config, numbers = plan.config, trial_numbers(plan.num_trials, digits=(1, 2, 3, 5, 7))
        scores = min(config.score.times, config.method.num_steps) if config.score.on == "private" else 0
        names = ("the dearest trial", "the cheapest trial") if len(self.prices) > 1 else ("filter",)
        trials = [price.num_steps * price.step + scores * (price.score or 0.0) for price in self.prices]
        delta = config.privacy.delta
        return Curves(
            numbers,
            {
                name: [plan.rule.converted(number * trial, delta) for number in numbers]
                for name, trial in zip(names, trials, strict=True)
            },
        )


def _cells(price: TrialPrice) -> tuple[str, ...]:
    return (
        f"{price.noise_multiplier:.4g}",
        f"{price.expected_batch_size:g}",
        f"{price.num_steps:,}",
        f"{price.step:.3g}",
        "–" if price.score is None else f"{price.score:.3g}",
        f"{price.steps_that_fit:,}",
        f"{price.trials_that_fit:,}",
    )


def _price(rule: RenyiFilter, trial: PlannedSweep, num_units: float) -> TrialPrice:
    caps = trial.trial_caps()
    step = rule.price(caps.train_step)
    score = None if caps.evaluation is None else rule.price(caps.evaluation)
    whole = step * trial.steps_per_trial + (score or 0) * trial.evaluations_per_trial
    return TrialPrice(
        noise_multiplier=trial.noise_multiplier,
        expected_batch_size=round(trial.sampling_prob * num_units, 6),
        num_steps=trial.steps_per_trial,
        step=step / UNITS,
        score=None if score is None else score / UNITS,
        steps_that_fit=rule.capacity() // step,
        trials_that_fit=rule.capacity() // whole,
    )
