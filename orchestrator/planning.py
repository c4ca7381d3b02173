"""What a run or a sweep will cost in privacy and in work, known before anything private is touched.

A plan fixes the caps (rule 1 of the accounting): so many training steps of one (σ, q) and so many private scores of one
σ over all trials together. Where the configuration gives epsilon alone, σ is calibrated so that the caps fit it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from orchestrator.config import SweepConfig
from orchestrator.estimate import Estimate, estimate
from orchestrator.privacy.accountant import Certificate
from orchestrator.privacy.calibration import calibrate_noise_multiplier
from orchestrator.privacy.composition import PlannedSweep
from orchestrator.privacy.fitting import require_fits
from trainers.config import RunConfig
from trainers.methods.catalogue import METHODS
from trainers.run import mechanism_plan


@dataclass(frozen=True)
class Plan:
    """The caps of a run or sweep, and their certified epsilon.

    Args:
        config: what is planned.
        caps: trials, steps, rates and noise; None for a method without privacy.
        total: the certified epsilon of all caps together: the number to report; None without privacy.
    """

    config: RunConfig
    caps: PlannedSweep | None
    total: Certificate | None

    @property
    def num_trials(self) -> int:
        """Trials of a sweep, 1 for a single run."""
        return num_trials_of(self.config)

    @property
    def noise_multiplier(self) -> float | None:
        """σ, given or calibrated; None without privacy."""
        return self.caps.noise_multiplier if self.caps else None

    @property
    def epsilon(self) -> float:
        """The total epsilon; infinite without privacy."""
        return self.total.epsilon if self.total else math.inf

    @cached_property
    def trial_epsilon(self) -> float:
        """Epsilon of one complete trial by itself; infinite without privacy."""
        return self.caps.trial_caps().epsilon(self.config.privacy.delta) if self.caps else math.inf

    @cached_property
    def estimate(self) -> Estimate:
        """Work of all trials."""
        concurrent = self.config.search.concurrent_trials if isinstance(self.config, SweepConfig) else 1
        return estimate(self.config, self.num_trials * self.config.method.num_steps, concurrent)

    def epsilon_after(self, steps: int) -> float:
        """Return the epsilon of `steps` training steps and a trial's private scores: a trial's own, by itself."""
        if self.caps is None:
            return math.inf
        if steps == 0 and not self.caps.evaluations_per_trial:
            return 0.0
        return self.caps.changed(steps_per_trial=max(1, steps)).trial_caps().epsilon(self.config.privacy.delta)


def finite_or_none(epsilon: float) -> float | None:
    """Return an epsilon as JSON can hold it: an infinite one is null."""
    return epsilon if math.isfinite(epsilon) else None


def num_trials_of(config: RunConfig) -> int:
    """Return the trials of a sweep, 1 for a single run."""
    return config.search.num_trials if isinstance(config, SweepConfig) else 1


def make_plan(config: RunConfig) -> Plan:
    """Return the plan of a configuration, with σ calibrated where it is not given.

    Raises:
        BudgetExceeded: the given σ, or any σ, costs more than privacy.epsilon; the message says what would fit.
    """
    if not METHODS[config.method.name].private:
        return Plan(config, None, None)
    privacy = config.privacy
    if privacy.noise_multiplier is not None:
        caps = planned(config, privacy.noise_multiplier)
        return Plan(config, caps, require_fits(caps, privacy.epsilon or math.inf, privacy.delta))
    assert privacy.epsilon is not None  # RunConfig requires one of the two
    calibrated = calibrate_noise_multiplier(
        lambda noise_multiplier: planned(config, noise_multiplier).caps().event(), privacy.epsilon, privacy.delta
    )
    caps = planned(config, calibrated)
    return Plan(config, caps, require_fits(caps, privacy.epsilon, privacy.delta))


def planned(config: RunConfig, noise_multiplier: float) -> PlannedSweep:
    """Return the caps of a configuration at a noise multiplier, with the rates that the mechanism will really draw."""
    mechanism = mechanism_plan(config, noise_multiplier)
    assert mechanism.noise_multiplier is not None
    private_scores = config.score.on == "private"
    return PlannedSweep(
        num_trials=num_trials_of(config),
        steps_per_trial=mechanism.num_steps,
        sampling_prob=mechanism.sampling_prob,
        noise_multiplier=mechanism.noise_multiplier,
        spare_steps=config.privacy.spare_steps,
        evaluations_per_trial=min(config.score.times, mechanism.num_steps) if private_scores else 0,
        evaluation_noise_multiplier=config.score.noise_multiplier if private_scores else None,
    )
