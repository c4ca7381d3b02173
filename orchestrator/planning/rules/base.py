"""What every plan has, whichever rule counts it, and what a rule decides for itself."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from orchestrator.config.models import SweepConfig
from orchestrator.planning.alternatives import RuleOutlook, compare_alternatives
from orchestrator.planning.facts import facts_html, facts_text, plan_facts, plan_lines, plan_values
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.planning.work_estimate import Estimate, estimate
from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.display import round_up
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.caps import EVALUATION, TRAIN_STEP
from orchestrator.privacy.rules.fitting import largest_count
from orchestrator.privacy.rules.laws import EvaluationCap, Law, StepCap
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from search_spaces.config import SearchConfig, SweepTokens
from search_spaces.trial_config import apply
from trainers.config import RunConfig
from trainers.mechanism.release_log import Kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNERS = {"tpe": "TPE", "gp": "a Gaussian process", "cma-es": "CMA-ES", "nsga2": "NSGA-II"}
KINDS_OF_LOG: dict[Kind, str] = {"step": TRAIN_STEP, "score": EVALUATION}


class TokenDraw(NamedTuple):
    """What one release takes from the ledger, and the law that its token must stand for (None: paid by its price)."""

    kind: str
    price: int
    law: Law | None


@dataclass(frozen=True, repr=False)
class Plan(ABC):
    """A run or sweep, the rule that counts it, and its certified epsilon. Each rule has a subclass of its own.

    Args:
        config: what is planned.
        rule: what may be released, and its price; None for a method without privacy.
        total: the certified epsilon of the rule: the number to report; None without privacy.
        caps: trials, steps and scores, where all trials have one σ, q and T; else None.
        noise_multipliers: σ by number of menu entry, by None where there is no menu; empty where trials have their own.
    """

    config: RunConfig
    rule: CostRule | None
    total: Certificate | None
    caps: PlannedSweep | None
    noise_multipliers: Mapping[int | None, float]

    trial_epsilon_note: ClassVar[str] = ""  # what people read after `trial_epsilon`

    @classmethod
    @abstractmethod
    def counts(cls, config: RunConfig) -> bool:
        """Return whether a configuration is counted by this rule."""

    @classmethod
    @abstractmethod
    def make(cls, config: RunConfig) -> Self:
        """Return the plan of a configuration, with σ calibrated if it is not given; BudgetExceeded as `make_plan`."""

    @abstractmethod
    def outlook(self, limit: float | None) -> RuleOutlook:
        """Return what a private plan could be, and what fits an ε where one is given. It takes seconds."""

    @property
    def rule_name(self) -> str | None:
        """The name of its rule for people; None where there is none, or none that others are compared with."""
        return self.rule.title if self.rule else None

    @property
    def num_trials(self) -> int:
        """Trials of a sweep (their mean number where it is secret), 1 for a single run."""
        return self.config.planned_trials if isinstance(self.config, SweepConfig) else 1

    @property
    def num_steps(self) -> int:
        """Steps of all trials together."""
        return self.config.planned_steps if isinstance(self.config, SweepConfig) else self.config.method.num_steps

    @property
    def seeds(self) -> int:
        """Runs of a trial."""
        return self.config.search.seeds if isinstance(self.config, SweepConfig) else 1

    @property
    def concurrent(self) -> int:
        return self.config.search.concurrent_trials if isinstance(self.config, SweepConfig) else 1

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
        """Epsilon of one complete trial by itself; infinite where there is no such number."""
        return math.inf

    @cached_property
    def estimate(self) -> Estimate:
        return estimate(self.config, self.num_steps, self.concurrent)

    def table(self) -> str:
        """Return ε, noise, sampling and work as text: a line for each, with its label."""
        return facts_text(plan_facts(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan's values as JSON can hold them; an infinite ε is None."""
        return plan_values(self)

    def plot(self) -> "Figure":
        """Return total ε against the number of trials under every rule, as a figure. It takes seconds."""
        from orchestrator.planning.plot import plan_figure

        return plan_figure(self, compare_alternatives(self))

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return plan_lines(self)

    def _repr_html_(self) -> str:
        return facts_html(plan_facts(self))

    def trial(self, values: Mapping[str, Any]) -> RunConfig:
        """Return the run of one trial: the search's values in place of the configuration's, and its σ."""
        return apply(with_noise(self.config, self.noise_multiplier), dict(values))

    def at_noise(self, noise_multipliers: Mapping[int | None, float]) -> Self:
        """Return this plan with other σ, by number of menu entry or by None; it need not fit privacy.epsilon."""
        config = with_noise(self.config, noise_multipliers[None])
        privacy = config.privacy.model_copy(update={"epsilon": None})
        return replace(self.make(config.model_copy(update={"privacy": privacy})), config=self.config)

    def token_caps(self) -> Mapping[str, Cap]:
        """Return what to reserve, by kind of release."""
        assert self.rule is not None
        return self.rule.tokens()

    def trial_draws(self, trial: RunConfig, entry: int | None = None) -> dict[Kind, TokenDraw]:
        """Return what each kind of a trial's releases draws, from the mechanism that the trial will really use.

        `trial` is what `trial` returned, `entry` the entry of a menu that it took.
        """
        assert trial.privacy.noise_multiplier is not None  # `trial` fills it in
        caps = planned_sweep(trial, trial.privacy.noise_multiplier, num_trials=1).trial_caps()
        releases, tokens = {TRAIN_STEP: caps.train_step, EVALUATION: caps.evaluation}, caps.tokens()
        return {
            log_kind: self._token_draw(kind, release, tokens[kind].parameters, entry)
            for log_kind, kind in KINDS_OF_LOG.items()
            if (release := releases[kind]) is not None
        }

    def _token_draw(self, kind: str, release: StepCap | EvaluationCap, law: Law, entry: int | None) -> TokenDraw:
        return TokenDraw(kind, 1, law)

    def epsilon_after(self, trial: RunConfig, steps: int) -> float:
        """Return the epsilon of `steps` training steps and a trial's private scores: a trial's own, by itself.

        The scores are those of all its runs: of a trial that was stopped early it is an upper bound.
        """
        assert trial.privacy.noise_multiplier is not None
        own, privacy = planned_sweep(trial, trial.privacy.noise_multiplier, num_trials=1), self.config.privacy
        own = own.changed(evaluations_per_trial=own.evaluations_per_trial * self.seeds)
        if steps == 0 and not own.evaluations_per_trial:
            return 0.0
        return own.changed(steps_per_trial=max(1, steps)).trial_caps().epsilon(privacy.delta, privacy.adjacency)

    def epsilon_by_other_rules(self) -> dict[str, float]:
        """Return what the same steps would cost under the rules that were not chosen, where that is comparable."""
        return {}

    @property
    def steps_text(self) -> str:
        if self._tokens is not None:
            full = f"{self.num_trials} trials of {self._trial_steps_text}"
            return f"{self._tokens.steps:,} in all: {full}, more where trials stop early"
        trials = f"{self.num_trials} trials × " if isinstance(self.config, SweepConfig) else ""
        return f"{trials}{self._trial_steps_text}"

    @property
    def _trial_steps_text(self) -> str:
        return (
            f"{self.seeds} seeds × {self.config.method.num_steps}"
            if self.seeds > 1
            else str(self.config.method.num_steps)
        )

    @property
    def search_text(self) -> str:
        if not isinstance(self.config, SweepConfig):
            return "none: one run with the settings of its configuration"
        search = self.config.search
        stopping = search.early_stopping
        stops = f", stopped early by {stopping.title}" if stopping.stops else ""
        known = f" (and from those of {search.warm_start})" if search.warm_start else ""
        given = f", the first {len(search.first)} as given" if search.first else ""
        over = f"over {', '.join(sorted(search.parameters))}"
        seeds = f", each scored by the mean of {self.seeds} runs" if self.seeds > 1 else ""
        return f"{self._trials_text}{seeds}{given}, {self._sampling_text(search)}{known}{stops}, {over}"

    def _sampling_text(self, search: SearchConfig) -> str:
        """Return how settings are chosen: how many of them from scores, at least, where several trials run at once."""
        sampler, first = search.sampler_for(self.num_trials), search.startup_of(self.num_trials)
        first = min(self.num_trials, first + search.concurrent_trials - 1)
        if sampler == "qmc":
            return "spread evenly over the space, whatever their scores"
        if first == self.num_trials:
            return "drawn independently"
        number = self.num_trials - first if search.caps is None else "the others"
        known = " and ".join(["scores", *(name.replace("_", " ") for name in search.objectives[1:])])
        learned = f"{number} chosen by {LEARNERS[sampler]} from earlier {known}"
        return f"{first} drawn independently, {learned}"

    @property
    def _tokens(self) -> SweepTokens | None:
        return self.config.search.caps if isinstance(self.config, SweepConfig) else None

    @property
    def _trials_text(self) -> str:
        if self._tokens is not None:
            most = self.config.search.num_trials if isinstance(self.config, SweepConfig) else None
            many = "as many trials as fit into" if most is None else f"at most {most} trials within"
            return f"{many} {self._tokens.steps:,} steps"
        return f"{self.num_trials} trials"

    @property
    def public_data(self) -> list[str]:
        """What this way of counting holds public, beside what every run does: one phrase each."""
        return []


def with_noise(config: RunConfig, noise_multiplier: float | None) -> RunConfig:
    """Return a configuration with σ given; as it is where it is None."""
    if noise_multiplier is None:
        return config
    privacy = config.privacy.model_copy(update={"noise_multiplier": noise_multiplier})
    return config.model_copy(update={"privacy": privacy})


def require_trials_fit(with_trials: Callable[[int], CostRule], config: SweepConfig) -> Certificate:
    """Return what a rule costs with the planned number of trials; BudgetExceeded tells the number that fits."""
    privacy, num_trials, limit = config.privacy, config.planned_trials, config.privacy.epsilon or math.inf
    total = with_trials(num_trials).certificate(privacy.delta, privacy.adjacency)
    if total.epsilon <= limit:
        return total
    most = largest_count(with_trials, num_trials - 1, limit, privacy.delta, privacy.adjacency)
    fitting = f"search.num_trials {most} would fit" if most else "not even one trial would fit"
    message = (
        f"search.num_trials {num_trials} costs ε = {round_up(total.epsilon, 3):g} at δ = {privacy.delta:g}, over "
        f"privacy.epsilon {limit:g}; {fitting}, or shorter trials, or more noise."
    )
    raise BudgetExceeded(message, spent=0.0, asked=total.epsilon, left=limit)
