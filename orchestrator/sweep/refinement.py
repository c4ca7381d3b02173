"""`dpzo refine`: chooses what is done to a finished run's weights, on public rows and for 0 ε.

One replay of the release log passes every late iterate. Each average over them, and each scale of the way from the base
model, is then scored on the public rows. The run itself stays as it is: `dpzo export` carries out what was chosen.

Formal guarantees: the choice reads the release log, the base weights and rows that no budget protects. It is
post-processing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from orchestrator.budget.overlap import require_public_file
from orchestrator.privacy.display import source_name
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.existing import find_existing
from orchestrator.storage.files import require_empty
from orchestrator.sweep.export import FinishedTraining, export_model, finished_training
from orchestrator.sweep.post_processing import PostProcessing
from orchestrator.sweep.rebuild import by_transformers, loaded_from, replay_log
from trainers.config import Metric, RunConfig
from trainers.config.data import DataConfig
from trainers.config.score import ScoreConfig
from trainers.methods.catalogue import METHODS
from trainers.run.scoring import public_metrics
from trainers.workspace import check_inputs, open_workspace

AVERAGES = (None, 10, 20, 50)
SCALES = (1.0, 0.5, 0.7, 0.85, 1.2, 1.4, 1.7, 2.0)


@dataclass(frozen=True)
class Candidate:
    """One way to change the weights, and its score on the public rows; larger is better."""

    change: PostProcessing
    score: float


@dataclass(frozen=True)
class Refined:
    """What a refinement found; the first candidate leaves the weights as they are.

    Args:
        chosen_on: the public rows, in words.
        folder: of the model, where one was asked for.
    """

    name: str
    metric: Metric
    chosen_on: str
    candidates: list[Candidate]
    best: Candidate
    folder: Path | None


def refine(
    source: str | Path,
    data: str,
    to: Path | None = None,
    *,
    trial: int | None = None,
    averages: Sequence[int | None] = AVERAGES,
    scales: Sequence[float] = SCALES,
    base: str | None = None,
) -> Refined:
    """Score averages and scales of a finished run on public rows, and export the best to `to`.

    Args:
        source, trial, base: as for `export_model`.
        data: a public file, or a name on the hub, with the columns of the task.
        to: a new or empty folder; nothing is exported when None.
        averages: shares of the last steps, percent; None for the last iterate. Each takes the memory of θ once.
        scales: of the way from the base model.

    Raises:
        ValueError: as for `export_model`; the rows are private, or a method of gradients has no such log.
    """
    if to is not None:
        require_empty(to)
    found = finished_training(source, trial)
    scored = _scoring(found.config, data)
    own = find_existing(source).config
    with Ledger(found.storage.database_url, create=False) as ledger:
        require_public_file(data, "--data", own, ledger, is_charged=METHODS[own.method.name].private)
    check_inputs(scored)
    rows, candidates = _candidates(found, scored, averages, scales, base)
    best = max(candidates, key=lambda candidate: candidate.score)  # the first of equals: the least change
    chosen_on = f"{rows} public rows of {source_name(data)}"
    if to is not None:
        export_model(source, to, trial, base=base, change=best.change.or_none(), chosen_on=chosen_on)
    return Refined(found.storage.name, scored.metric, chosen_on, candidates, best, to)


def _scoring(config: RunConfig, data: str) -> RunConfig:
    """Return the configuration with these public rows to score on, by transformers: an engine holds no iterates."""
    rows = {"validation": data, "validation_share": None}
    changes = {
        "data": DataConfig.model_validate(config.data.model_dump() | rows),
        "score": ScoreConfig(on="public", metric=config.score.metric),
    }
    return by_transformers(config.model_copy(update=changes))


def _candidates(
    found: FinishedTraining,
    scored: RunConfig,
    averages: Sequence[int | None],
    scales: Sequence[float],
    base: str | None,
) -> tuple[int, list[Candidate]]:
    """Return the number of public rows, and every candidate with its score."""
    wanted = dict.fromkeys([PostProcessing(), *(PostProcessing(a, s) for a in averages for s in scales)])
    shares = dict.fromkeys(change.last_percent for change in wanted)
    with closing(open_workspace(loaded_from(scored, base), private=False)) as opened:
        late = replay_log(found.config, opened, found.log.parent, found.steps, found.what, shares)
        candidates = []
        for change in wanted:
            late[change.last_percent].place(change.scale)
            score = public_metrics(scored, opened.evaluator, opened.validation)[scored.metric]
            candidates.append(Candidate(change, score))
        return len(opened.validation), candidates
