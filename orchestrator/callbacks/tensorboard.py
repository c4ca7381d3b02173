"""Scores, ε and schedules of each trial as files for TensorBoard, in a folder of the caller's choice."""

from pathlib import Path

from orchestrator.callbacks.released import Released
from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import SilentMonitor, WorkFacts
from orchestrator.sweep.tensorboard import TensorBoardFiles


class TensorBoard(SilentMonitor):
    """Writes `<folder>/<name of the sweep>/NNN/`, one folder a trial, as a sweep does in its own folder.

    Args:
        folder: that `tensorboard --logdir` names.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._files: TensorBoardFiles | None = None

    def on_start(self, facts: WorkFacts) -> None:
        """Begin the files of a sweep; one run has none."""
        if facts.kind == "sweep" and facts.plan is not None and facts.day is not None:
            self._files = TensorBoardFiles(self._folder / facts.name, facts.plan, facts.day)

    def on_trial_start(self, trial: TrialRow) -> None:
        """Write the trial's settings, once."""
        if self._files is not None and Released.settings(trial):
            self._files.on_trial_start(trial)

    def on_score(self, trial: TrialRow) -> None:
        """Write a score, once."""
        if self._files is not None and Released.score(trial):
            self._files.on_score(trial)

    def on_trial_end(self, trial: TrialRow) -> None:
        """Write that the trial has ended."""
        if self._files is not None:
            self._files.on_trial_end(trial)
