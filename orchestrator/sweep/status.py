"""The status of a run or sweep, read from its folder and the ledger without Ray: running, killed or finished.

Of a search of one winner (`release: best`) the status shows only what its statement says. The number of trials, their
steps and their times would each say something of the secret number. A page that others may see gets still less of work
that is running: its steps move when a score is reported, because how long a step takes hints at the size of its batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.budget.release_logs import RUN_HOLDER, holder_of
from orchestrator.budget.reservation import StandingReservation
from orchestrator.config.models import SweepConfig
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import EVALUATION, TRAIN_STEP
from orchestrator.storage.existing import Existing, RunState
from orchestrator.storage.progress import Progress, read_progress
from orchestrator.storage.trials import TrialRow, steps_to_come
from orchestrator.sweep.spending import Spending, spending_of
from trainers.config import Metric

Audience = Literal["everyone", "owner", "operator"]
"""Who looks: everyone sees what is released; the owner also the progress of steps; the operator also what is secret."""


@dataclass(frozen=True)
class RunStatus:
    """The status of a run or sweep.

    `trials` is empty for a run. Where trials are secret, `trials` and everything below it but `spending` is unset.
    `steps` of a run is None where its progress is not shown. `seconds_left` is None where nothing runs or the rate is
    not known yet.
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


def status_of(existing: Existing, audience: Audience = "owner") -> RunStatus:
    """Return the status of a run or sweep.

    For `everyone`, steps and tokens of running work are those of its latest scores, and lanes have no speed.

    Raises:
        LedgerUnreachable: the database does not answer.
        LedgerCorruptError: its chain is broken.
    """
    storage, state = existing.storage, existing.state()
    hides_steps = audience == "everyone" and state == "running"
    rows = _rows(existing, state) if storage.releases_trials or audience == "operator" else None
    drawn = _drawn_at_scores(rows or (), existing) if hides_steps else None
    status = RunStatus(
        name=storage.name,
        kind=existing.kind,
        state=state,
        folder=str(storage.folder),
        metric=existing.config.metric,
        spending=spending_of(existing, reveals_secret=audience == "operator", drawn=drawn),
    )
    if rows is None:
        return status
    if not hides_steps:
        return _with_progress(status, existing, rows, read_progress(storage.progress_folder))
    shown = _with_progress(status, existing, rows, {})
    return shown if status.kind == "sweep" else replace(shown, steps=None)


def _with_progress(
    status: RunStatus, existing: Existing, rows: Sequence[TrialRow], progress: Mapping[str, Progress]
) -> RunStatus:
    """Return the status with trials, lanes, steps and the time left."""
    config = existing.config
    rows = [_with_steps(row, progress.get(holder_of(row.number))) for row in rows]
    single = progress.get(RUN_HOLDER)
    seeds = config.search.seeds if isinstance(config, SweepConfig) else 1
    running = [row.number for row in rows if row.state == "running"]
    others = [holder_of(number, seed) for number in running for seed in range(1, seeds)]
    holders = [*map(holder_of, running), *others, RUN_HOLDER]
    lanes = [progress[name] for name in holders if name in progress] if status.state == "running" else []
    rate = sum(lane.steps_per_s or 0.0 for lane in lanes) or None
    steps = sum(max(row.steps, row.steps_charged) for row in rows) + (single.steps if single else 0)
    steps += sum(progress[name].steps for name in others if name in progress)
    num_trials, num_lanes, num_steps = None, 1, config.method.num_steps
    if isinstance(config, SweepConfig):
        num_trials, num_lanes = _num_trials(existing, config), config.search.concurrent_trials
        caps = config.search.caps
        total = steps_to_come(rows, num_trials, config.steps_per_trial) if caps is None else caps.steps
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


def _num_trials(existing: Existing, config: SweepConfig) -> int:
    """Return the number of trials; of a search of one winner the one that was drawn, which is secret."""
    if existing.storage.releases_trials:
        return config.planned_trials
    return StandingReservation.of(existing.storage).num_trials()


def _drawn_at_scores(rows: Sequence[TrialRow], existing: Existing) -> Mapping[str, int]:
    """Return the tokens that trials had drawn at their latest scores, by kind; nothing where rows do not tell it."""
    config = existing.config
    if not isinstance(config, SweepConfig) or config.search.tune_on is not None:
        return {}
    steps = {TRAIN_STEP: sum(row.steps_charged for row in rows)}
    if config.score.on == "public":
        return steps
    return {} if config.search.seeds > 1 else steps | {EVALUATION: sum(len(row.scores) for row in rows)}


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
