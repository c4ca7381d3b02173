"""What a run or sweep is doing, or was when it was killed, from its folder and the ledger; no Ray is needed.

Of a search of one winner (`release: best`) only what its statement says is told until it is done: how many trials there
are, how far they are and how long they take would each say something of the secret number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.budget.accounted_run import RUN_HOLDER, holder_of
from orchestrator.budget.verification import NOT_PRIVATE_RULE
from orchestrator.budget.view import Left, left_of
from orchestrator.config.models import SweepConfig
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.privacy.rules.registry import rule_from_json
from orchestrator.storage.existing import Existing, RunState
from orchestrator.storage.paths import Storage
from orchestrator.storage.progress import Progress, read_progress
from orchestrator.storage.trials import TrialRow, steps_to_come
from trainers.config import Metric


@dataclass(frozen=True)
class Spending:
    """ε at δ: what is reserved under this name (the number to report), what its budget has left, and what was drawn.

    `drawn` is ε of the tokens drawn so far, None where that is a secret or has no ε of its own; `left` is None where
    the budget has no limit.
    """

    budget: str
    limit: float | None
    reserved: float
    delta: float
    left: Left | None
    tokens_drawn: Mapping[str, tuple[int, int]] | None
    drawn: float | None


@dataclass(frozen=True)
class RunStatus:
    """A run or sweep as it stands.

    `trials` is empty for a run, and None where trials are secret; so are `steps`, `num_steps`, the rate and the lanes.
    `seconds_left` is None where nothing runs or the rate is not known yet.
    """

    name: str
    kind: Literal["run", "sweep"]
    state: RunState
    folder: str
    metric: Metric
    num_trials: int | None = None
    trials: Sequence[TrialRow] | None = None
    lanes: Sequence[Progress] = field(default_factory=tuple)
    num_lanes: int | None = None
    steps: int | None = None
    num_steps: int | None = None
    steps_per_s: float | None = None
    seconds_left: float | None = None
    spending: Spending | None = None

    @property
    def is_secret(self) -> bool:
        """Whether what the trials do is not told."""
        return self.trials is None


def status_of(existing: Existing) -> RunStatus:
    """Return how a run or sweep stands.

    Raises:
        LedgerUnreachable: the database does not answer.
        LedgerCorruptError: its chain is broken.
    """
    config, storage = existing.config, existing.storage
    status = RunStatus(
        name=storage.name,
        kind="sweep" if existing.is_sweep else "run",
        state=existing.state(),
        folder=str(storage.folder),
        metric=config.metric,
        spending=_spending(existing),
    )
    if not storage.releases_trials:
        return status
    rows = _rows(existing, status.state)
    lanes = read_progress(storage.progress_folder)
    rows = [_caught_up(row, lanes.get(holder_of(row.number))) for row in rows]
    at_work = [holder_of(row.number) for row in rows if row.state == "running"] + [RUN_HOLDER]
    running = [lanes[name] for name in at_work if name in lanes] if status.state == "running" else []
    rates = [lane.steps_per_s for lane in running if lane.steps_per_s]
    single = lanes.get(RUN_HOLDER)
    taken = sum(max(row.steps, row.steps_charged) for row in rows) + (single.steps if single else 0)
    status = replace(status, trials=rows, lanes=running, steps=taken, steps_per_s=sum(rates) if rates else None)
    if isinstance(config, SweepConfig):
        search = config.search
        total = steps_to_come(rows, search.num_trials, config.method.num_steps)
        total += config.method.num_steps if search.tune_on is not None else 0
        status = replace(status, num_trials=search.num_trials, num_lanes=search.concurrent_trials, num_steps=total)
    else:
        status = replace(status, num_lanes=1, num_steps=config.method.num_steps)
    return replace(status, seconds_left=_seconds_left(status))


def _seconds_left(status: RunStatus) -> float | None:
    if status.state != "running" or not status.steps_per_s or status.steps is None or status.num_steps is None:
        return None
    return max(0, status.num_steps - status.steps) / status.steps_per_s


def _rows(existing: Existing, state: RunState) -> list[TrialRow]:
    """Return the trials that the study knows; those that a dead process was at are interrupted."""
    storage = existing.storage
    if not existing.is_sweep or not _ledger_is_there(storage):
        return []
    from orchestrator.sweep.study_view import trials_of  # loads optuna

    with Ledger(storage.database_url, create=False) as ledger:
        rows = trials_of(ledger.url, storage.name)
    return [row if row.state != "running" or state == "running" else replace(row, state="interrupted") for row in rows]


def _caught_up(row: TrialRow, progress: Progress | None) -> TrialRow:
    """Return the row of a trial that has not ended with the steps that its lane told of."""
    if progress is None or row.state not in ("running", "interrupted"):
        return row
    return replace(row, steps=max(row.steps, progress.steps), num_steps=progress.num_steps)


def _ledger_is_there(storage: Storage) -> bool:
    return storage.ledger_url is not None or storage.ledger_file.is_file()


def _spending(existing: Existing) -> Spending | None:
    """Return what the ledger says of a run or sweep; None where nothing is reserved yet."""
    storage = existing.storage
    if not _ledger_is_there(storage):
        return None
    with Ledger(storage.database_url, create=False) as ledger:
        terms = ledger.terms_of(storage.name)
        if terms is None:
            return None
        budget = ledger.budget(terms.budget)
        left = left_of(budget, ledger.spent(budget.name))
        caps = [entry for entry in ledger.reservations() if entry.name == storage.name]
    tokens = None if terms.has_secret else {entry.kind: (entry.drawn, entry.cap.count) for entry in caps}
    return Spending(
        budget=budget.name,
        limit=budget.epsilon,
        reserved=terms.cost.epsilon,
        delta=terms.cost.delta,
        left=left,
        tokens_drawn=tokens,
        drawn=None if tokens is None else _epsilon_of(terms, tokens, existing.config.privacy.adjacency),
    )


def _epsilon_of(terms: Terms, tokens: Mapping[str, tuple[int, int]], adjacency: Adjacency) -> float | None:
    """Return ε of the tokens drawn so far, where they have one and none was taken over."""
    if terms.cost.rule.get("rule") == NOT_PRIVATE_RULE or terms.reused:
        return None
    drawn = {kind: number for kind, (number, _) in tokens.items()}
    return rule_from_json(terms.cost.rule).epsilon_of_drawn(drawn, terms.cost.delta, adjacency)
