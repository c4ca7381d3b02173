"""What figures draw: the released trials of a sweep, and its ε."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from orchestrator.api.views.points import Point, score_points
from orchestrator.config.models import SweepConfig
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.existing import Existing
from orchestrator.storage.results import StoredSweep, stored_result
from orchestrator.storage.trials import TrialRow, best_of
from orchestrator.sweep.spending import spending_of
from orchestrator.sweep.status import status_of
from trainers.config import Metric
from trainers.methods.catalogue import METHODS

if TYPE_CHECKING:
    from optuna import Study


@dataclass(frozen=True)
class Trials:
    """The released trials of a sweep, finished or not.

    Args:
        config: of the sweep.
        rows: its trials, by number.
        epsilon: the ε that the sweep reports; infinite without privacy.
        delta: at which it holds; None without privacy.
        load_study: returns a copy of the sweep's Optuna study; only the importance of settings asks for it.
    """

    config: SweepConfig
    rows: Sequence[TrialRow]
    epsilon: float
    delta: float | None
    load_study: Callable[[], "Study"]

    @property
    def metric(self) -> Metric:
        return self.config.metric

    @property
    def searched(self) -> list[str]:
        """Names of the searched settings that at least one trial has, sorted."""
        names = {name for row in self.rows for name in row.values}
        return sorted(names)

    @cached_property
    def scored(self) -> list[TrialRow]:
        """The trials that have a score."""
        return [row for row in self.rows if row.score is not None]

    def is_best(self, row: TrialRow) -> bool:
        """Return whether the row is that of the best trial."""
        return row is best_of(self.rows)

    def score_points(self, row: TrialRow) -> list[Point]:
        """Return (step, score) of a trial."""
        return score_points(row, self.config, row.num_steps or self.config.method.num_steps)


def trials_of(existing: Existing) -> Trials:
    """Return the released trials of a sweep that was started, as of now.

    Raises:
        ValueError: it is one run, which has no trials.
        LedgerUnreachable: the database of a sweep that has not ended does not answer.
    """
    config, storage = existing.config, existing.storage
    if not isinstance(config, SweepConfig):
        raise ValueError(f"{storage.folder}: this is one run; a figure of trials needs a sweep")
    delta, load = config.privacy.delta if METHODS[config.method.name].private else None, partial(_load_study, existing)
    result = stored_result(storage)
    if isinstance(result, StoredSweep):
        epsilon = result.statement.epsilon_here
        return Trials(config, result.trials, math.inf if epsilon is None else epsilon, delta, load)
    spending = spending_of(existing)
    epsilon = math.inf if spending is None else spending.reserved
    return Trials(config, status_of(existing).trials or (), epsilon, delta, load)


def _load_study(existing: Existing) -> "Study":
    """Return a copy of the Optuna study; ValueError where it is secret, or its database is not there."""
    from orchestrator.sweep.study_view import copy_of_study  # loads optuna

    storage = existing.storage
    if not storage.releases_trials:
        raise ValueError(f"{storage.name}: under search.release 'best' the trials are secret, and so is the study")
    if not storage.may_have_ledger():
        raise ValueError(f"{storage.ledger_file}: the database with the study is not there; it stays with the operator")
    with Ledger(storage.database_url, create=False) as ledger:
        return copy_of_study(ledger.url, storage.name)
