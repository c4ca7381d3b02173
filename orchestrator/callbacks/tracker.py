"""What all trackers share: the events of a sweep become runs with settings and scores, of released values alone."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from orchestrator.callbacks.released import Released, require_released
from orchestrator.storage.results import StoredRun, StoredSweep
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import Monitor, WorkFacts


class Tracker(Monitor, ABC):
    """A monitor that logs a run a trial. A score that a resumed trial repeats is logged once."""

    def on_start(self, facts: WorkFacts) -> None:
        """Begin the sweep or run."""
        self._metric, self._steps = facts.metric, {row.number: row.steps for row in facts.ended}
        self.name, self.day_s = facts.name, _seconds_of(facts.day)
        self.begin(Released.facts(facts))

    def on_trial_start(self, trial: TrialRow) -> None:
        """Begin a trial, once."""
        if trial.number not in self._steps:
            self._steps[trial.number] = 0
            self.begin_trial(trial.number, Released.settings(trial))

    def on_score(self, trial: TrialRow) -> None:
        """Log a score, once."""
        self.on_trial_start(trial)  # a run of its own has no start
        if trial.steps > self._steps[trial.number]:
            self._steps[trial.number] = trial.steps
            self.log(trial.number, require_released(Released.score(trial)))

    def on_trial_end(self, trial: TrialRow) -> None:
        """End a trial."""
        self.end_trial(trial.number, failed=trial.state == "failed")

    def on_end(self, result: StoredRun | StoredSweep | None) -> None:
        """End the sweep or run."""
        self.end(None if result is None else Released.result(result))

    @abstractmethod
    def begin(self, facts: Released) -> None:
        """Begin the sweep or run `self.name`, reserved on the day that begins at Unix time `self.day_s`."""

    @abstractmethod
    def begin_trial(self, number: int, settings: Released) -> None:
        """Begin a trial with its settings."""

    @abstractmethod
    def log(self, number: int, values: Released) -> None:
        """Log a score of a trial, with its steps and ε; implementations pass `values` through `require_released`."""

    @abstractmethod
    def end_trial(self, number: int, *, failed: bool) -> None:
        """End a trial."""

    @abstractmethod
    def end(self, result: Released | None) -> None:
        """End the sweep or run; without a result where it failed."""


def library(name: str, extra: str) -> Any:
    """Return a library that is installed on demand; ImportError says how."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0]:
            raise
        raise ModuleNotFoundError(f"this tracker needs {name}: pip install 'dpzo[{extra}]'", name=name) from None


def _seconds_of(day: str | None) -> float:
    return 0.0 if day is None else datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
