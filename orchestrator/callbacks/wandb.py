"""Weights & Biases: a run a trial, in one group a sweep.

W&B stores when each score was logged, which dpzo's own files leave out. What it would collect by itself (console,
code, machine) is turned off.
"""

from typing import Any

from orchestrator.callbacks.released import Released, require_released
from orchestrator.callbacks.tracker import Tracker, library

_QUIET = {
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "save_code": False,
    "disable_job_creation": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
}


class WandB(Tracker):
    """Logs to W&B.

    Args:
        project: of W&B.
        init: what `wandb.init` takes besides, such as entity, dir or mode="offline".
    """

    def __init__(self, project: str, **init: Any) -> None:
        self._wandb = library("wandb", "wandb")
        self._init = {"project": project, **init}
        self._runs: dict[int, Any] = {}

    def begin(self, facts: Released) -> None:
        """Keep what every trial's configuration has."""
        self._facts, self._runs = require_released(facts), {}

    def begin_trial(self, number: int, settings: Released) -> None:
        """Begin a run; that of a trial that an earlier process began continues."""
        self._runs[number] = self._open(f"{self.name}-{number:03d}", "trial", settings)

    def log(self, number: int, values: Released) -> None:
        """Log a score at its step."""
        numbers = require_released(values).numbers()
        self._runs[number].log(numbers, step=int(numbers["steps"]))

    def end_trial(self, number: int, *, failed: bool) -> None:
        """End the run of a trial."""
        self._runs.pop(number).finish(exit_code=int(failed))

    def end(self, result: Released | None) -> None:
        """End what is open, and log the result as a run of its own."""
        for number in list(self._runs):
            self.end_trial(number, failed=result is None)
        if result is not None:
            run = self._open(f"{self.name}-result", "result", None)
            run.summary.update(require_released(result).numbers())
            run.finish()

    def _open(self, name: str, kind: str, settings: Released | None) -> Any:
        config = {**self._facts, **({} if settings is None else require_released(settings))}
        given = {"id": name, "name": name, "group": self.name, "job_type": kind, "resume": "allow"}
        settings_of_wandb = self._wandb.Settings(**_QUIET)
        return self._wandb.init(**given, **self._init, config=config, reinit="create_new", settings=settings_of_wandb)
