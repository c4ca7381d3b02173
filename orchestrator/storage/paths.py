"""The paths below `storage_path`: one database for all runs, and one folder for each run or sweep.

A run's folder holds what its statement releases. Its subfolder `operator-only/` holds what must stay with the operator:
Ray Tune's files (the times in them hint at the sizes of secret batches) and, under `release: best`, the trials. The
database stays with the operator too: it holds the settings and scores of all trials, the ledger's key and the secret
numbers of trials. Only what `Ledger.export` writes may leave it. Both are for their owner alone (modes 0700 and 0600).
"""

import fcntl
import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.models import CONFIG_FILE, LEDGER_FILE, BudgetConfig, LedgeredConfig, SweepConfig
from orchestrator.privacy.ledger.drawer import PATIENCE_S
from orchestrator.privacy.ledger.engines import sqlite_url
from orchestrator.privacy.ledger.permissions import keep_to_owner
from orchestrator.storage.bucket import is_url, local_folder, locked_in_database, require_fit_for_bucket, synchronise
from orchestrator.storage.files import remove_leftovers, write_whole
from trainers.config import RunConfig

JOB_FOLDERS = "runtime_resources"  # in Ray's session folder: what jobs brought with them
DEFAULT_FOLDER = Path("runs")  # storage_path of a configuration that names none


def run_of_trial(number: int, seed: int = 0) -> str:
    """Return the name of a trial's run: the trial's number, and where it has several runs, which one it is."""
    return f"{number:03d}" + (f"-seed-{seed}" if seed else "")


@dataclass(frozen=True)
class Storage:
    """The paths of one run or sweep; all are absolute.

    Args:
        root: folder of all runs.
        name: of the run.
        ledger_url: of its database; a file in `root` when None.
        releases_trials: whether the trials of a sweep leave.
        patience_s: how long to wait for the database.
        url: of the run in object storage, where its results are published; `root` is then for this machine alone.
        copies_logs: whether the database has the lines of its release logs.
    """

    root: Path
    name: str
    ledger_url: str | None = None
    releases_trials: bool = True
    patience_s: float = PATIENCE_S
    url: str | None = None
    copies_logs: bool = False

    @property
    def place(self) -> str:
        """The run as one names it to `dpzo resume`: its folder or URL."""
        return self.url or str(self.folder)

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def database_url(self) -> str:
        """The database of the ledger and of the Optuna study, for the operator alone."""
        return self.ledger_url or sqlite_url(self.ledger_file)

    @property
    def ledger_file(self) -> Path:
        """The database file, used where no URL names a database."""
        return self.root / LEDGER_FILE

    def may_have_ledger(self) -> bool:
        """Return False where the database file is missing; a URL is not tried."""
        return self.ledger_url is not None or self.ledger_file.is_file()

    @property
    def config_file(self) -> Path:
        return self.folder / CONFIG_FILE

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"

    @property
    def statement_file(self) -> Path:
        """The privacy statement as JSON; as text beside it."""
        return self.folder / "privacy_statement.json"

    @property
    def operator_folder(self) -> Path:
        """The folder of everything that is not released."""
        return self.folder / "operator-only"

    @property
    def ray_token_file(self) -> Path:
        """The token of Ray's session on this machine, while it lasts."""
        return self.operator_folder / "ray-token"

    @property
    def tensorboard_folder(self) -> Path:
        """The scores of trials for TensorBoard; only where trials are released."""
        return self.folder / "tensorboard"

    @property
    def trials_folder(self) -> Path:
        return (self.folder if self.releases_trials else self.operator_folder) / "trials"

    def trial_folder(self, number: int, seed: int = 0) -> Path:
        """Return the folder of a run of one trial of a sweep, with its release log."""
        return self.trials_folder / run_of_trial(number, seed)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run's folder for this process; ValueError if another process holds it."""
        self.operator_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keep_to_owner(self.operator_folder)
        with ExitStack() as held, open(self._lock_file, "w") as file:
            for pause in (0.05, 0.2, None):  # `is_held` of another process holds it for a moment
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if pause is None:
                        raise self._taken() from None
                    time.sleep(pause)
            if self.url is not None and not held.enter_context(locked_in_database(self.database_url, self.url)):
                raise self._taken()
            trials = self.trials_folder.glob("*")
            remove_leftovers((self.folder, self.operator_folder, self.progress_folder, *trials))
            yield

    def _taken(self) -> ValueError:
        return ValueError(f"name: {self.name!r} is running in another process; wait, or give another name.")

    def is_held(self) -> bool:
        """Return whether a live process works on it."""
        if self.url is not None:
            with locked_in_database(self.database_url, self.url) as is_free:
                return not is_free
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
        """The progress files, which tell times and so stay with the operator."""
        return self.operator_folder / "progress"

    def clear_progress(self) -> None:
        """Remove the progress files of a process that is dead, before its work goes on."""
        for progress in self.progress_folder.glob("*.json"):
            progress.unlink()

    @property
    def _lock_file(self) -> Path:
        return self.operator_folder / ".lock"

    def identity(self) -> str:
        """Return a random name of this folder, made at the first call; for the operator.

        A path is not unique: two machines that share a ledger may both use the same path. A URL is.
        """
        if self.url is not None:
            return hashlib.blake2b(self.url.encode(), digest_size=16).hexdigest()
        if not self._identity_file.exists():
            write_whole(self._identity_file, secrets.token_hex(16))
        return self._identity_file.read_text(encoding="ascii")

    def has_identity(self, identity: str) -> bool:
        """Return whether this is the folder of that random name, and not one of the same path on another machine."""
        if self.url is not None:
            return self.identity() == identity
        return self._identity_file.is_file() and self._identity_file.read_text(encoding="ascii") == identity

    @property
    def _identity_file(self) -> Path:
        return self.operator_folder / ".identity"

    @property
    def model_folder(self) -> Path:
        """The trained (or best) model."""
        return self.folder / "model"


def storage_of(config: RunConfig) -> Storage:
    """Return the paths of a configuration, and create the root folder; ValueError if that fails.

    Where it is a URL, what other machines have published there comes into the root folder.
    """
    root, in_bucket = root_of(config), is_url(config.storage_path)
    if in_bucket:
        require_fit_for_bucket(config)
    try:
        root.mkdir(mode=0o700 if in_bucket else 0o777, parents=True, exist_ok=True)
        if in_bucket:
            synchronise(config.storage_path, root)
    except OSError as error:
        raise ValueError(f"storage_path: {root} cannot be made a folder: {error.strerror}") from error
    return storage_in(root, config, config.name)


def storage_in(root: Path, config: RunConfig, name: str) -> Storage:
    """Return the paths of a configuration in this root folder, whatever its storage_path is."""
    budget = config.budget if isinstance(config, LedgeredConfig) else BudgetConfig()
    releases_trials = not (isinstance(config, SweepConfig) and config.search.release == "best")
    url = f"{config.storage_path.rstrip('/')}/{name}" if is_url(config.storage_path) else None
    copies_logs = config.performance.log == "database"
    return Storage(root, name, budget.ledger, releases_trials, budget.patience_s, url, copies_logs)


def root_of(config: RunConfig) -> Path:
    """Return the absolute folder of all runs on this machine, which may not exist yet."""
    path = config.storage_path
    return local_folder(path) if is_url(path) else _resolved(path)


def input_paths(config: RunConfig) -> dict[str, str]:
    """Return what workers read, by its setting: local files and folders, and names on the hub."""
    named = {
        "data.train": config.data.train,
        "data.validation": config.data.validation,
        "model.path": config.model.path,
        "search.tune_on": config.search.tune_on if isinstance(config, SweepConfig) else None,
    }
    return {setting: path for setting, path in named.items() if path is not None}


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the configuration with absolute local paths, so that it means the same in every process.

    ValueError for a path in the working folder of a Ray job, which Ray removes after the job, so that no resume would
    find it; and for object storage that the run cannot work with.
    """
    if is_url(config.storage_path):
        require_fit_for_bucket(config)
    validation = config.data.validation
    changes = {
        "storage_path": config.storage_path if is_url(config.storage_path) else str(root_of(config)),
        "data": config.data.model_copy(
            update={"train": _absolute(config.data.train), "validation": validation and _absolute(validation)}
        ),
        "model": config.model.model_copy(update={"path": _absolute(config.model.path)}),
    }
    if isinstance(config, SweepConfig) and config.search.tune_on is not None:
        changes["search"] = config.search.model_copy(update={"tune_on": _absolute(config.search.tune_on)})
    absolute = config.model_copy(update=changes)
    _require_lasting(absolute)
    return absolute


def _require_lasting(config: RunConfig) -> None:
    """Refuse, with a ValueError, paths in the working folder of a Ray job."""
    for setting, path in {"storage_path": config.storage_path, **input_paths(config)}.items():
        if JOB_FOLDERS in Path(path).parts:
            raise ValueError(
                f"{setting}: {path} lies in the working folder of a Ray job, which Ray removes after the job, so that "
                "no resume would find it. Name an absolute path that all nodes share."
            )


def _absolute(path: str) -> str:
    """Return the absolute path where it exists; otherwise (a name on the hub) the text unchanged."""
    found = _resolved(path)
    return str(found) if found.exists() else path


def _resolved(path: str) -> Path:
    return Path(path).expanduser().resolve()
