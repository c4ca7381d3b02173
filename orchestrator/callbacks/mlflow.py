"""MLflow: a run a trial, below one of the sweep. Every time is the day of the reservation."""

from typing import Any

from orchestrator.callbacks.released import Released, require_released
from orchestrator.callbacks.tracker import Tracker, library


class MLflow(Tracker):
    """Logs to MLflow.

    Args:
        tracking_uri: of the server or the local store; MLflow's own default when None.
        experiment: its name, which is made where it is missing.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str = "dpzo") -> None:
        self._client = library("mlflow.tracking", "mlflow").MlflowClient(tracking_uri)
        self._experiment = experiment
        self._runs: dict[int, str] = {}

    def begin(self, facts: Released) -> None:
        """Begin the run of the sweep."""
        self._runs, found = {}, self._client.get_experiment_by_name(self._experiment)
        self._id = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self._parent = self._open(self.name, {}, facts)

    def begin_trial(self, number: int, settings: Released) -> None:
        """Begin the run of a trial."""
        self._runs[number] = self._open(f"{self.name}-{number:03d}", {"mlflow.parentRunId": self._parent}, settings)

    def log(self, number: int, values: Released) -> None:
        """Log a score at its step."""
        numbers = require_released(values).numbers()
        self._log_numbers(self._runs[number], numbers, int(numbers.pop("steps")))

    def end_trial(self, number: int, *, failed: bool) -> None:
        """End the run of a trial."""
        self._close(self._runs.pop(number), failed=failed)

    def end(self, result: Released | None) -> None:
        """End what is open, and the run of the sweep with its result."""
        for number in list(self._runs):
            self.end_trial(number, failed=result is None)
        if result is not None:
            self._log_numbers(self._parent, require_released(result).numbers(), 0)
        self._close(self._parent, failed=result is None)

    @property
    def _time_ms(self) -> int:
        return int(1000 * self.day_s)

    def _open(self, name: str, tags: dict[str, Any], settings: Released) -> str:
        run = self._client.create_run(self._id, start_time=self._time_ms, tags=tags, run_name=name).info.run_id
        for key, value in require_released(settings).items():
            self._client.log_param(run, key, value)
        return run

    def _log_numbers(self, run: str, numbers: dict[str, float], step: int) -> None:
        for key, value in numbers.items():
            self._client.log_metric(run, key, value, timestamp=self._time_ms, step=step)

    def _close(self, run: str, *, failed: bool) -> None:
        self._client.set_terminated(run, "FAILED" if failed else "FINISHED", end_time=self._time_ms)
