"""The status of a run or sweep, read from its folder and the ledger without Ray: running, killed or finished.

Of a search of one winner (`release: best`) the status shows only what its statement says. The number of trials, their
steps and their times would each say something of the secret number.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.budget.release_logs import RUN_HOLDER, holder_of
from orchestrator.budget.verification import NOT_PRIVATE_RULE
from orchestrator.budget.view import Left, left_of
from orchestrator.config.models import SweepConfig
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.privacy.rules.registry import rule_from_json
from orchestrator.storage.existing import Existing, RunState
from orchestrator.storage.files import changed, read_object
from orchestrator.storage.paths import Storage
from orchestrator.storage.progress import Progress, read_progress
from orchestrator.storage.trials import TrialRow, steps_to_come
from trainers.config import Metric


@dataclass(frozen=True)
class Spending:
    """What a run or sweep has reserved and drawn; ε at δ.

    `total` and `here` are the statement's total ε and the ε of this run. `reserved` is what the run took from its
    budget: less than `here` where it took over tokens that were charged earlier. `here` is None in such a run before
    its statement is there. `drawn` is ε of the tokens drawn so far, None where it is secret or no rule counts it.
    `left` is None where the budget has no limit.
    """

    budget: str
    limit: float | None
    total: float | None
    total_delta: float
    here: float | None
    reserved: float
    delta: float
    left: Left | None
    tokens_drawn: Mapping[str, tuple[int, int]] | None
    drawn: float | None


@dataclass(frozen=True)
class RunStatus:
    """The status of a run or sweep.

    `trials` is empty for a run. Where trials are secret, `trials` and everything below it but `spending` is unset.
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
        """Whether the trials are secret."""
        return self.trials is None


def status_of(existing: Existing) -> RunStatus:
    """Return the status of a run or sweep.

    Raises:
        LedgerUnreachable: the database does not answer.
        LedgerCorruptError: its chain is broken.
    """
    storage = existing.storage
    status = RunStatus(
        name=storage.name,
        kind=existing.kind,
        state=existing.state(),
        folder=str(storage.folder),
        metric=existing.config.metric,
        spending=_spending(existing),
    )
    return _with_progress(status, existing) if storage.releases_trials else status


def _with_progress(status: RunStatus, existing: Existing) -> RunStatus:
    """Return the status with trials, lanes, steps and the time left."""
    config, progress = existing.config, read_progress(existing.storage.progress_folder)
    rows = [_with_steps(row, progress.get(holder_of(row.number))) for row in _rows(existing, status.state)]
    single = progress.get(RUN_HOLDER)
    holders = [holder_of(row.number) for row in rows if row.state == "running"] + [RUN_HOLDER]
    lanes = [progress[name] for name in holders if name in progress] if status.state == "running" else []
    rate = sum(lane.steps_per_s or 0.0 for lane in lanes) or None
    steps = sum(max(row.steps, row.steps_charged) for row in rows) + (single.steps if single else 0)
    num_trials, num_lanes, num_steps = None, 1, config.method.num_steps
    if isinstance(config, SweepConfig):
        num_trials, num_lanes = config.search.num_trials, config.search.concurrent_trials
        total = steps_to_come(rows, num_trials, num_steps)
        num_steps = total + (num_steps if config.search.tune_on is not None else 0)
    return replace(
        status,
        num_trials=num_trials,
        trials=rows,
        lanes=lanes,
        num_lanes=num_lanes,
        steps=steps,
        num_steps=num_steps,
        steps_per_s=rate,
        seconds_left=max(0, num_steps - steps) / rate if rate else None,
    )


def _rows(existing: Existing, state: RunState) -> list[TrialRow]:
    """Return the trials of the study; a trial that no live process runs is interrupted."""
    storage = existing.storage
    if existing.kind == "run" or not storage.may_have_ledger():
        return []
    from orchestrator.sweep.study_view import trials_of  # loads optuna

    with Ledger(storage.database_url, create=False) as ledger:
        rows = trials_of(ledger.url, storage.name)
    return [row if row.state != "running" or state == "running" else replace(row, state="interrupted") for row in rows]


def _with_steps(row: TrialRow, progress: Progress | None) -> TrialRow:
    """Return the row of a trial that has not ended with the steps in its progress file."""
    if progress is None or row.state not in ("running", "interrupted"):
        return row
    return replace(row, steps=max(row.steps, progress.steps), num_steps=progress.num_steps)


def _spending(existing: Existing) -> Spending | None:
    """Return what the ledger holds of a run or sweep; None where nothing is reserved yet."""
    storage = existing.storage
    if not storage.may_have_ledger():
        return None
    with Ledger(storage.database_url, create=False) as ledger:
        terms = ledger.terms_of(storage.name)
        if terms is None:
            return None
        budget = ledger.budget(terms.budget)
        spent = ledger.spent(budget.name)
        caps = [entry for entry in ledger.reservations() if entry.name == storage.name]
    tokens = None if terms.has_secret else {entry.kind: (entry.drawn, entry.cap.count) for entry in caps}
    return Spending(
        budget=budget.name,
        limit=budget.epsilon,
        total=budget.epsilon if budget.composition == "rdp" else spent.epsilon,
        total_delta=budget.delta if budget.composition == "rdp" else spent.delta,
        here=_epsilon_here(storage, terms),
        reserved=terms.cost.epsilon,
        delta=terms.cost.delta,
        left=left_of(budget, spent),
        tokens_drawn=tokens,
        drawn=None if tokens is None else _epsilon_of(terms, tokens, existing.config.privacy.adjacency),
    )


def _epsilon_here(storage: Storage, terms: Terms) -> float | None:
    """Return the statement's ε of this run; before there is a statement, what is charged for all of its tokens."""
    if storage.statement_file.exists():
        here = read_object(storage.statement_file).get("epsilon_here", False)
        if here is not None and (isinstance(here, bool) or not isinstance(here, int | float)):
            raise changed(storage.statement_file, "expected epsilon_here")
        return math.inf if here is None else here
    return None if terms.reused else terms.cost.epsilon


def _epsilon_of(terms: Terms, tokens: Mapping[str, tuple[int, int]], adjacency: Adjacency) -> float | None:
    """Return ε of the tokens drawn so far; None where the rule has none, or tokens of another run were reused."""
    if terms.cost.rule.get("rule") == NOT_PRIVATE_RULE or terms.reused:
        return None
    drawn = {kind: number for kind, (number, _) in tokens.items()}
    return rule_from_json(terms.cost.rule).epsilon_of_drawn(drawn, terms.cost.delta, adjacency)
