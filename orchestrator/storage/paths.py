"""Where things lie under `storage_path`: one database for all runs, and a folder for each run or sweep.

What the statement says is released lies in the run's folder; what must stay with the operator lies in `operator-only/`
below it: Ray Tune's files always (they hold the times of segments, and so hint at the sizes of secret batches), and
under `release: best` the trials too. The database stays with the operator as well: it holds every trial's settings and
score, the ledger's key, and the secret numbers of trials; `Ledger.export` is what may leave of it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.models import BudgetConfig, LedgeredConfig, SweepConfig
from orchestrator.privacy.ledger.drawer import PATIENCE_S
from trainers.config import RunConfig

LEDGER_FILE, CONFIG_FILE = "dpzo.db", "config.json"


@dataclass(frozen=True)
class Storage:
    """Paths of one run or sweep; all absolute."""

    root: Path
    name: str
    ledger_url: str | None = None
    releases_trials: bool = True
    patience_s: float = PATIENCE_S

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.root / self.name

    @property
    def database_url(self) -> str:
        """Ledger and Optuna study, readable by optuna-dashboard; for the operator alone."""
        return self.ledger_url or f"sqlite:///{self.ledger_file}"

    @property
    def ledger_file(self) -> Path:
        """The database where no URL names another one."""
        return self.root / LEDGER_FILE

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.folder / CONFIG_FILE

    @property
    def result_file(self) -> Path:
        """The results, written when all is done."""
        return self.folder / "result.json"

    @property
    def statement_file(self) -> Path:
        """The privacy statement as JSON; as text beside it."""
        return self.folder / "privacy_statement.json"

    @property
    def operator_folder(self) -> Path:
        """What is not released."""
        return self.folder / "operator-only"

    @property
    def trials_folder(self) -> Path:
        """The folders of a sweep's trials, by number."""
        return (self.folder if self.releases_trials else self.operator_folder) / "trials"

    def trial_folder(self, number: int) -> Path:
        """Return the folder of one trial of a sweep, with its release log."""
        return self.trials_folder / f"{number:03d}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run's folder for one process; a second one is refused."""
        self.operator_folder.mkdir(parents=True, exist_ok=True)
        with open(self._lock_file, "w") as file:
            for pause in (0.05, 0.2, None):  # whoever only looks (`is_held`) holds it for a moment
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if pause is None:
                        raise ValueError(
                            f"name: {self.name!r} is running in another process; wait, or give another name."
                        ) from None
                    time.sleep(pause)
            yield

    def is_held(self) -> bool:
        """Return whether a live process holds the run's folder."""
        if not self._lock_file.exists():
            return False
        with open(self._lock_file) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @property
    def progress_folder(self) -> Path:
        """How far each trial is; it tells times, and so stays with the operator."""
        return self.operator_folder / "progress"

    @property
    def _lock_file(self) -> Path:
        return self.operator_folder / ".lock"

    def identity(self) -> str:
        """Return what tells this run's folder from every other one: random, made when first asked for; for operators.

        Paths do not: two machines that share a ledger may both call their own folder the same.
        """
        path = self.operator_folder / ".identity"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".identity.{os.getpid()}")
            with open(temporary, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(16))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        return path.read_text(encoding="ascii")

    @property
    def model_folder(self) -> Path:
        """The trained (or best) model."""
        return self.folder / "model"


def storage_of(config: RunConfig) -> Storage:
    """Return the paths of a configuration; the root folder is created.

    Raises:
        ValueError: it cannot be.
    """
    root = _resolved(config.storage_path)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"storage_path: {root} cannot be made a folder: {error.strerror}") from error
    return storage_in(root, config, config.name)


def storage_in(root: Path, config: RunConfig, name: str) -> Storage:
    """Return the paths of a configuration in a root folder, wherever the configuration says that it was."""
    budget = config.budget if isinstance(config, LedgeredConfig) else BudgetConfig()
    releases_trials = not (isinstance(config, SweepConfig) and config.search.release == "best")
    return Storage(root, name, budget.ledger, releases_trials, budget.patience_s)


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the configuration with local paths made absolute, so that it means the same in every process."""
    validation = config.data.validation
    changes = {
        "storage_path": str(_resolved(config.storage_path)),
        "data": config.data.model_copy(
            update={"train": _absolute(config.data.train), "validation": validation and _absolute(validation)}
        ),
        "model": config.model.model_copy(update={"path": _absolute(config.model.path)}),
    }
    if isinstance(config, SweepConfig) and config.search.tune_on is not None:
        changes["search"] = config.search.model_copy(update={"tune_on": _absolute(config.search.tune_on)})
    return config.model_copy(update=changes)


def _absolute(path: str) -> str:
    """Return an existing local path as absolute; anything else (a hub name) unchanged."""
    found = _resolved(path)
    return str(found) if found.exists() else path


def _resolved(path: str) -> Path:
    return Path(path).expanduser().resolve()


DEFAULT_FOLDER = Path("runs")  # storage_path of a configuration that does not say another
