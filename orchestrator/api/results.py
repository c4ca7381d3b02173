"""What `Sweep.run`, `train` and `load_result` return: released values, and what can be made of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.opening import opened
from orchestrator.api.views.frames import scores_frame, trials_frame
from orchestrator.api.views.tables import path_text, score_text, short
from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.planning.facts import facts_html
from orchestrator.privacy.display import epsilon_text
from orchestrator.privacy.statement.statement import PrivacyStatement
from orchestrator.storage.existing import Existing
from orchestrator.storage.results import StoredRun, StoredSweep, stored_result
from orchestrator.storage.trials import TrialRow
from trainers.config import RunConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study
    from pandas import DataFrame


class _Result(ABC):
    """What results of runs and of sweeps have in common."""

    name: str
    folder: Path
    statement: PrivacyStatement

    @property
    def epsilon(self) -> float:
        """The total ε: of everything that was released about the data so far; infinite without privacy."""
        return self.statement.epsilon

    @property
    def delta(self) -> float | None:
        """The δ at which `epsilon` holds; None without privacy."""
        return self.statement.delta_total

    @property
    def tokens_left(self) -> dict[str, int] | None:
        """Tokens that were paid for and not drawn, by kind; None where that is secret."""
        drawn = self.statement.tokens_drawn
        return None if drawn is None else {kind: cap - drawn.get(kind, 0) for kind, cap in self.statement.caps.items()}

    @cached_property
    def config(self) -> LedgeredConfig:
        """The configuration, with all defaults."""
        return self._existing.config

    @cached_property
    def _existing(self) -> Existing:
        return opened(self.folder)

    def write_report(self) -> Path:
        """Write report.html into the folder again, as `dpzo report` does, and return its path."""
        from orchestrator.api.views.report.page import write_report

        return write_report(self.folder)

    @abstractmethod
    def _facts(self) -> list[tuple[str, str]]:
        """Return the lines that show it, with their labels; the first two are its repr."""

    def __repr__(self) -> str:
        (_, what), (_, total), *_ = self._facts()
        return f"{type(self).__name__} of {self.name!r}: {what}\n{total}; in {path_text(self.folder)}"

    def _total(self) -> tuple[str, str]:
        if not math.isfinite(self.epsilon):
            return "total ε", "ε = ∞ (not private)"
        return "total ε", f"ε = {epsilon_text(self.epsilon)} at δ = {self.delta:g}"


@dataclass(frozen=True, repr=False)
class RunResult(_Result, StoredRun):
    """The result of one run."""

    def dataframe(self) -> DataFrame:
        """Return a row a score, with the steps before it."""
        from pandas import DataFrame

        points = self.config.score.points(self.config.method.num_steps)
        rows = [(steps, score) for steps, score in zip(points, self.scores, strict=False)]
        return DataFrame(rows, columns=["steps", "score"])

    def export(self, to: str | Path) -> Path:
        """Rebuild the model from the release log in a new or empty folder, and return the folder."""
        return _export(self.folder, to)

    def _facts(self) -> list[tuple[str, str]]:
        score = "no score" if self.score is None else score_text(self.score, self.config.metric)
        return [("run", f"{self.steps} steps, {score}"), self._total()]

    def _repr_html_(self) -> str:
        return facts_html(self._facts())


@dataclass
class BestTrial(TrialRow):
    """The best trial of a sweep. `folder` is that of the sweep."""

    folder: Path = Path()

    @cached_property
    def config(self) -> RunConfig:
        """The configuration of this one run, with the values that the search chose and the noise that it had."""
        from orchestrator.planning.plan import make_plan

        return make_plan(opened(self.folder).config).trial(self.values)

    def export(self, to: str | Path) -> Path:
        """Rebuild the model from the release log in a new or empty folder, and return the folder."""
        return _export(self.folder, to)


@dataclass(frozen=True, repr=False)
class SweepResult(_Result, StoredSweep):
    """The result of a sweep: its trials, the best one, and the statement with its one ε."""

    best: BestTrial | None

    @cached_property
    def study(self) -> Study:
        """A copy of the Optuna study, in memory; ValueError where trials are secret or the database is not there."""
        return self._drawn.load_study()

    def dataframe(self, long: bool = False) -> DataFrame:
        """Return a row a trial, or (`long`) a row a score, with the settings by dotted name."""
        assert isinstance(self.config, SweepConfig)
        return (scores_frame if long else trials_frame)(self.trials, self.config)

    def plot(self, kind: str = "history") -> Figure:
        """Return a figure: history, scores, privacy, epsilon, importance, parallel or schedules."""
        from orchestrator.api.views.figures.catalogue import draw

        return draw(kind, self._drawn)

    @cached_property
    def _drawn(self) -> Any:
        from orchestrator.api.views.figures.trials import trials_of

        return trials_of(self._existing)

    def _facts(self) -> list[tuple[str, str]]:
        number = "the winner of a secret number of trials" if self.seconds is None else f"{len(self.trials)} trials"
        best = self.best
        if best is None or best.score is None:
            return [("sweep", f"{number}, none complete"), self._total()]
        chosen = ", ".join(f"{name.removeprefix('method.')} {short(value)}" for name, value in best.values.items())
        score = score_text(best.score, self.config.metric)
        return [("sweep", f"{number}, best {score}"), self._total(), ("best trial", f"{best.number} ({chosen})")]

    def _repr_html_(self) -> str:
        return facts_html(self._facts()) + self.dataframe().to_html(na_rep="", border=0)


def load_result(folder: str | Path) -> RunResult | SweepResult:
    """Return the result of a finished run or sweep, by its folder or its name in `runs/`.

    Raises:
        ValueError: there is none, or it has not ended.
        ConfigError: another version wrote it, whose settings this one does not know.
    """
    existing = opened(folder)
    stored = stored_result(existing.storage)
    if stored is None:
        way = f"Sweep.open({str(folder)!r}).run() goes on" if existing.kind == "sweep" else f"dpzo resume {folder}"
        raise ValueError(f"{existing.storage.folder}: this {existing.kind} has not ended, so it has no result; {way}")
    return as_result(stored)


def as_result(stored: StoredRun | StoredSweep) -> RunResult | SweepResult:
    """Return a result that a program can work with."""
    values = {field.name: getattr(stored, field.name) for field in fields(stored)}
    if isinstance(stored, StoredRun):
        return RunResult(**values)
    best = stored.best and BestTrial(**{**vars(stored.best), "folder": stored.folder})
    return SweepResult(**{**values, "best": best})


def _export(folder: Path, to: str | Path) -> Path:
    from orchestrator.sweep.export import export_model

    return export_model(folder, Path(to))
