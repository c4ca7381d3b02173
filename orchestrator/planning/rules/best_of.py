"""Best of (`search.release: best`): a random and secret number of independent trials, of which one winner leaves."""

import math
from dataclasses import dataclass
from typing import Self

from orchestrator.config.models import SweepConfig
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.planning.rules.base import require_trials_fit
from orchestrator.planning.rules.compared import ComparedPlan
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.fitting import calibrate
from orchestrator.privacy.rules.repetitions import Repetitions
from trainers.config import RunConfig


@dataclass(frozen=True, repr=False)
class BestOfPlan(ComparedPlan):
    """A plan of which one winner leaves; num_trials is the mean of the secret number of trials."""

    rule: BestOf

    @classmethod
    def counts(cls, config: RunConfig) -> bool:
        return isinstance(config, SweepConfig) and config.search.release == "best"

    @classmethod
    def make(cls, config: RunConfig) -> Self:
        assert isinstance(config, SweepConfig)
        privacy = config.privacy
        sigma = privacy.noise_multiplier or calibrate(
            lambda sigma: _rule(config, sigma), privacy.epsilon or math.inf, privacy.delta, privacy.adjacency
        )
        caps = planned_sweep(config, sigma, config.planned_trials)
        rule = _rule(config, caps.noise_multiplier)
        return cls(config, rule, require_trials_fit(rule.with_trials, config), caps, {None: caps.noise_multiplier})

    @property
    def _trials_text(self) -> str:
        return "a secret number of trials"


def _rule(config: SweepConfig, noise_multiplier: float) -> BestOf:
    number, mean = config.search.secret_number, float(config.planned_trials)
    shape = number.shape if number.law == "negative-binomial" else None
    trial = planned_sweep(config, noise_multiplier, num_trials=1)  # trials share no spare tokens: each has them all
    return BestOf(trial=trial.caps(), number=Repetitions(law=number.law, mean=mean, shape=shape))
