"""Whether the tokens of a sweep suffice for one trial more (`search.caps`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from orchestrator.planning.plan import Plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import EVALUATION, TRAIN_STEP
from orchestrator.storage.paths import Storage


@dataclass(frozen=True)
class TokenRoom:
    """What is left of a sweep's tokens, and what a trial needs up to its first score.

    Args:
        database_url: of the ledger.
        name: of the sweep.
        caps: tokens by kind, and how many of them a trial draws up to its first score.
        most_trials: trials in all, whatever they draw.
    """

    database_url: str
    name: str
    caps: dict[str, tuple[int, int]]
    most_trials: int

    @classmethod
    def of(cls, plan: Plan, storage: Storage) -> Self | None:
        """Return the room of a sweep with search.caps; None for one with a number of trials alone."""
        search = getattr(plan.config, "search", None)
        if search is None or search.caps is None:
            return None
        config = plan.config
        first = {TRAIN_STEP: config.score.points(config.method.num_steps)[0], EVALUATION: 1}
        caps = {kind: (cap.count, first[kind]) for kind, cap in plan.token_caps().items()}
        firsts = search.caps.steps // first[TRAIN_STEP]  # a trial that fails before draws nothing, and counts too
        return cls(storage.database_url, storage.name, caps, min(firsts, search.num_trials or firsts))

    def fits(self, num_running: int) -> bool:
        """Return whether a trial can come to its first score, and so many running ones to their next."""
        with Ledger(self.database_url, create=False) as ledger:
            return all(
                count - ledger.drawn(self.name, kind) >= needed * (num_running + 1)
                for kind, (count, needed) in self.caps.items()
            )
