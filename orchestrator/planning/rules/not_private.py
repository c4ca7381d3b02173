"""No rule: a method without clipping and noise. Its steps are counted all the same, and its ε is infinite."""

import math
from collections.abc import Mapping
from typing import NoReturn, Self

from orchestrator.planning.rules.base import Plan, TokenDraw
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.caps import TRAIN_STEP
from trainers.config import RunConfig
from trainers.mechanism.release_log import Kind
from trainers.methods.catalogue import METHODS

NOT_PRIVATE_LAW = {"law": "not private"}


class NotPrivatePlan(Plan):
    """A plan without privacy."""

    @classmethod
    def counts(cls, config: RunConfig) -> bool:
        return not METHODS[config.method.name].private

    @classmethod
    def make(cls, config: RunConfig) -> Self:
        return cls(config, None, None, None, {})

    def outlook(self, limit: float | None) -> NoReturn:
        raise AssertionError("there are no rules to compare")

    def token_caps(self) -> Mapping[str, Cap]:
        num_steps = self.num_steps + self.config.privacy.spare_steps
        return {TRAIN_STEP: Cap(NOT_PRIVATE_LAW, num_steps)}

    def trial_draws(self, trial: RunConfig, entry: int | None = None) -> dict[Kind, TokenDraw]:
        return {"step": TokenDraw(TRAIN_STEP, 1, NOT_PRIVATE_LAW)}

    def epsilon_after(self, trial: RunConfig, steps: int) -> float:
        return math.inf
