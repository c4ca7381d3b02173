"""How many trials search.caps will hold: early stopping leaves steps over, as it did in earlier sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from orchestrator.config.errors import ConfigError
from orchestrator.config.models import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.storage.existing import find_existing, folders_in
from orchestrator.storage.paths import root_of, storage_in
from orchestrator.storage.results import read_result


class ExpectedTrials(NamedTuple):
    """About how many trials will fit, the share of full trials' steps that earlier sweeps took, and their names."""

    number: int
    share: float
    sweeps: tuple[str, ...]

    def __str__(self) -> str:
        return f"about {self.number}: trials of {', '.join(self.sweeps)} took {self.share:.0%} of their steps"


def expected_trials(plan: Plan) -> ExpectedTrials | None:
    """Return how many trials fit into the steps of a plan if early stopping goes as in earlier sweeps.

    Those are the finished sweeps of the same ledger and storage folder whose early stopping and scores were the same.
    None where trials do not share steps, nothing stops them, or there is no such sweep.
    """
    config = plan.config
    if not isinstance(config, SweepConfig) or config.search.caps is None or not config.search.early_stopping.stops:
        return None
    taken = full = 0
    names = []
    for earlier, trials in _earlier(config):
        taken += sum(row["steps_charged"] for row in trials)
        full += len(trials) * earlier.steps_per_trial
        names.append(earlier.name)
    if not taken:
        return None
    return ExpectedTrials(int(plan.num_steps * full / (taken * config.steps_per_trial)), taken / full, tuple(names))


def _earlier(config: SweepConfig) -> Iterator[tuple[SweepConfig, list[dict[str, Any]]]]:
    """Yield the sweeps that stopped trials alike, with the trials that did not fail."""
    own = storage_in(root_of(config), config, config.name)
    for folder in folders_in(own.root):
        try:
            earlier = find_existing(folder)
        except ConfigError:  # another version wrote it
            continue
        other, storage = earlier.config, earlier.storage
        if folder == own.folder or not isinstance(other, SweepConfig) or storage.database_url != own.database_url:
            continue
        result = read_result(storage) if _stops(other) == _stops(config) else None
        if result is not None:
            yield other, [row for row in result["trials"] if row["state"] in ("complete", "stopped early")]


def _stops(config: SweepConfig) -> tuple[Any, int]:
    return config.search.early_stopping, config.score.times
