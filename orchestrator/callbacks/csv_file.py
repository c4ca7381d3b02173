"""The scores of a sweep as a CSV file: a row a score."""

import csv
from pathlib import Path

from orchestrator.callbacks.released import Released, require_released
from orchestrator.callbacks.tracker import Tracker


class CSV(Tracker):
    """Appends a row a score: name of the sweep, trial, steps, score, ε by itself, and the settings as one text.

    Args:
        path: of the file, which is made with its header where it is missing.
    """

    HEADER = ("sweep", "trial", "steps", "score", "epsilon", "settings")

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._settings: dict[int, str] = {}

    def begin(self, facts: Released) -> None:
        """Make the file."""
        self._settings.clear()
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._write(self.HEADER)

    def begin_trial(self, number: int, settings: Released) -> None:
        """Keep the settings for the rows."""
        self._settings[number] = " ".join(f"{name}={value}" for name, value in require_released(settings).items())

    def log(self, number: int, values: Released) -> None:
        """Append a row."""
        known = require_released(values)
        row = (known["steps"], known["score"], known["epsilon"], self._settings.get(number, ""))
        self._write((self.name, number, *row))

    def end_trial(self, number: int, *, failed: bool) -> None:
        """Do nothing: the last row is the end."""

    def end(self, result: Released | None) -> None:
        """Do nothing: every row is in the file."""

    def _write(self, row: tuple[object, ...]) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
