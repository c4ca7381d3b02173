"""What the page shows of runs and sweeps: values that the browser draws, and texts as `dpzo status` has them.

Everyone who opens the page sees only what is released, as of the latest score. For the operator it also has the
progress of steps, the processes of lanes, and the trials of a search of one winner.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.api.views.points import Point, method_of, schedule_points, score_points
from orchestrator.api.views.status import epsilon_texts, status_facts, steps_text
from orchestrator.api.views.tables import score_text, short
from orchestrator.config.models import SweepConfig
from orchestrator.planning.facts import duration
from orchestrator.privacy.display import epsilon_text
from orchestrator.storage.existing import Existing, find_existing, folder_of, folders_in
from orchestrator.storage.results import read_result
from orchestrator.storage.trials import TrialRow, best_of
from orchestrator.sweep.status import Audience, RunStatus, status_of


@dataclass(frozen=True)
class RunLine:
    """A run or sweep in the list of a storage folder, in texts."""

    name: str
    kind: str
    state: str
    steps: str
    here: str
    total: str


@dataclass(frozen=True)
class TrialView:
    """A trial: texts of the table, and points (step, value) of its scores and schedules."""

    number: int
    state: str
    is_best: bool
    settings: Sequence[str]
    steps: str
    score: str
    epsilon: str
    scores: Sequence[Point]
    schedules: Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class LaneView:
    """What a lane works on; the process and the speed only for the operator."""

    trial: str
    steps: str = ""
    process: str = ""
    speed: str = ""


@dataclass(frozen=True)
class EpsilonBar:
    """ε of the tokens drawn so far, beside the ε that is reserved and reported; texts, and the share between them."""

    drawn: str
    reserved: str
    share: float


@dataclass(frozen=True)
class RunView:
    """A run or sweep on the page."""

    name: str
    kind: str
    state: str
    metric: str
    facts: Sequence[tuple[str, str]]
    epsilon: EpsilonBar | None = None
    setting_names: Sequence[str] = ()
    trials: Sequence[TrialView] = ()
    lanes: Sequence[LaneView] = ()
    num_lanes: int | None = None
    as_of: str = ""


@dataclass(frozen=True)
class Place:
    """The folder that a page shows: of one run or sweep, or a storage folder that holds several.

    Args:
        folder: of the run or sweep, or the storage folder.
        audience: who opens the page.
    """

    folder: Path
    audience: Audience
    is_one: bool = field(default=False)

    def lines(self) -> list[RunLine]:
        """Return the list of what the folder holds; files that cannot be read hide no other run."""
        if self.is_one:
            return [_line(status_of(find_existing(self.folder), self.audience))]
        return [_line_or_fault(folder, self.audience) for folder in folders_in(self.folder)]

    def view(self, name: str) -> RunView:
        """Return one run or sweep by the name of its folder; ValueError if there is none, or its files were changed."""
        folders = [self.folder] if self.is_one else folders_in(self.folder)
        for folder in folders:
            if folder.name == name:
                return view_of(find_existing(folder), self.audience)
        raise ValueError("there is no run or sweep of this name in the folder")


def place_of(given: str, *, for_operator: bool = False) -> Place:
    """Return the folder that the user named, or a name in the default storage folder.

    ValueError if there is none, or if it is a search of one winner and the page is not for the operator.
    """
    audience: Audience = "operator" if for_operator else "everyone"
    folder = folder_of(given)
    if folder is None:
        root = Path(given).expanduser()
        if not root.is_dir():
            find_existing(given)  # says what is missing
        return Place(root.resolve(), audience)
    existing = find_existing(folder)
    if not existing.storage.releases_trials and not for_operator:
        raise ValueError(
            f"{folder}: this search releases only its winner, so the page would be empty. `dpzo status` shows what is "
            "reserved; --operator shows the trials, for you alone."
        )
    return Place(folder, audience, is_one=True)


def view_of(existing: Existing, audience: Audience) -> RunView:
    """Return what the page shows of one run or sweep.

    Raises:
        LedgerUnreachable, LedgerCorruptError: as `status_of`.
    """
    status, config = status_of(existing, audience), existing.config
    names = sorted(config.search.parameters) if isinstance(config, SweepConfig) else []
    best = best_of(status.trials or ())
    facts = status_facts(status)
    if status.state == "interrupted" and audience == "operator":
        facts.append(("to resume", f"dpzo resume {status.folder}"))
    return RunView(
        name=status.name,
        kind=status.kind,
        state=status.state,
        metric=status.metric,
        facts=facts,
        epsilon=_bar(status),
        setting_names=[name.removeprefix("method.") for name in names],
        trials=[_trial(row, names, row is best, existing) for row in _rows(status, existing)],
        lanes=_lanes(status),
        num_lanes=status.num_lanes if status.kind == "sweep" else None,
        as_of="the latest scores" if audience == "everyone" and status.state == "running" else "now",
    )


def _rows(status: RunStatus, existing: Existing) -> Sequence[TrialRow]:
    """Return the trials; a single run is shown as one, whose scores are known when it is finished."""
    if status.kind == "sweep":
        return status.trials or ()
    result = read_result(existing.storage) or {}
    scores = [float(score) for score in result.get("scores", []) if isinstance(score, int | float)]
    state = "complete" if status.state == "finished" else status.state
    return [TrialRow(0, {}, state, status.steps or 0, scores=scores)]


def _line(status: RunStatus) -> RunLine:
    return RunLine(status.name, status.kind, status.state, steps_text(status), *epsilon_texts(status.spending))


def _line_or_fault(folder: Path, audience: Audience) -> RunLine:
    try:
        return _line(status_of(find_existing(folder), audience))
    except (ValueError, OSError):  # opened alone, it says why
        return RunLine(folder.name, "", "cannot be read", "", "", "")


def _bar(status: RunStatus) -> EpsilonBar | None:
    """Return ε drawn beside ε reserved; None where either is unknown or infinite."""
    spending = status.spending
    if spending is None or spending.drawn is None or not 0 < spending.reserved < math.inf:
        return None
    share = min(1.0, spending.drawn / spending.reserved)
    return EpsilonBar(epsilon_text(spending.drawn), epsilon_text(spending.reserved), share)


def _trial(row: TrialRow, names: Sequence[str], is_best: bool, existing: Existing) -> TrialView:
    config, metric = existing.config, existing.config.metric
    method = method_of(row, config)
    num_steps = row.num_steps or method.num_steps
    return TrialView(
        number=row.number,
        state=row.state,
        is_best=is_best,
        settings=[short(row.values.get(name)) for name in names],
        steps=f"{row.steps}/{num_steps}",
        score="" if row.score is None else score_text(row.score, metric),
        epsilon="" if row.epsilon is None else epsilon_text(row.epsilon, digits=3),
        scores=score_points(row, config, num_steps),
        schedules={name: schedule_points(method, name) for name in method.scheduled},
    )


def _lanes(status: RunStatus) -> list[LaneView]:
    """Return the lanes at work: with process and speed where the status has them, else the trials that are running."""
    if not status.lanes:
        return [LaneView(f"trial {row.number}") for row in status.trials or () if row.state == "running"]
    return [
        LaneView(
            trial=_holder_text(lane.holder),
            steps=f"{lane.steps:,}/{lane.num_steps:,}",
            process=f"{lane.host}, process {lane.pid}",
            speed=("" if lane.steps_per_s is None else f"{lane.steps_per_s:.3g} steps/s · ")
            + f"last step {duration(max(0.0, time.time() - lane.at))} ago",
        )
        for lane in status.lanes
    ]


def _holder_text(holder: str) -> str:
    """Return "trial 3" for the holder `trial-003` of tokens."""
    word, _, number = holder.partition("-")
    return f"{word} {int(number)}" if number else word
