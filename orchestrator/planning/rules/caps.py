"""Caps: all trials share fixed numbers of steps and scores of one law; with data.validation_share on disjoint rows."""

import math
from typing import Self

from orchestrator.config.models import SweepConfig
from orchestrator.planning.planned_sweep import planned_sweep
from orchestrator.planning.rules.compared import ComparedPlan
from orchestrator.privacy.rules.fitting import calibrate, require_fits
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from trainers.config import RunConfig


class CapsPlan(ComparedPlan):
    """A single run, and every sweep that names no other rule."""

    @classmethod
    def counts(cls, config: RunConfig) -> bool:
        search = config.search if isinstance(config, SweepConfig) else None
        return search is None or (search.release == "all" and search.menu is None and search.filter is None)

    @classmethod
    def make(cls, config: RunConfig) -> Self:
        privacy, limit = config.privacy, config.privacy.epsilon or math.inf

        def planned(sigma: float) -> PlannedSweep:
            return planned_sweep(config, sigma, cls._num_private_trials(config))

        sigma = privacy.noise_multiplier or calibrate(
            lambda sigma: planned(sigma).caps(), limit, privacy.delta, privacy.adjacency
        )
        caps = planned(sigma)
        total = require_fits(caps, limit, privacy.delta, privacy.adjacency)
        return cls(config, caps.caps(), total, caps, {None: caps.noise_multiplier})

    @classmethod
    def _num_private_trials(cls, config: RunConfig) -> int:
        return config.planned_trials if isinstance(config, SweepConfig) else 1
