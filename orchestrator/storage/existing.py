"""Finds a run or sweep that was started before, by its folder or name: for `dpzo status` and `dpzo resume`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.storage.bucket import is_url, local_folder, synchronise
from orchestrator.storage.files import read_object
from orchestrator.storage.paths import CONFIG_FILE, DEFAULT_FOLDER, Storage, root_of, storage_in

RunState = Literal["running", "interrupted", "finished"]


@dataclass(frozen=True)
class Existing:
    """A run or sweep that was started, and where it lies now; resuming continues there."""

    config: LedgeredConfig
    storage: Storage

    @property
    def kind(self) -> Literal["run", "sweep"]:
        return "sweep" if isinstance(self.config, SweepConfig) else "run"

    def state(self) -> RunState:
        """Return `interrupted` where it is not finished and no live process holds it."""
        if self.storage.result_file.exists():
            return "finished"
        return "running" if self.storage.is_held() else "interrupted"


def find_existing(place: str | Path) -> Existing:
    """Return the run or sweep in a folder, or of a name in the default storage folder; ValueError if there is none."""
    folder = folder_of(place)
    if folder is None:
        raise ValueError(
            f"{place}: there is no {CONFIG_FILE}; expected the folder of a run or sweep, or its name in "
            f"{DEFAULT_FOLDER}/. {CONFIG_FILE} is written once the privacy budget is reserved; if the run ended before "
            "that, start it with its configuration file."
        )
    config = _stored_config(folder / CONFIG_FILE)
    if not is_url(config.storage_path) or root_of(config) != folder.parent:
        config = config.model_copy(update={"storage_path": str(folder.parent)})
    return Existing(config, storage_in(folder.parent, config, folder.name))


def find_beside(config: LedgeredConfig, name: str) -> Existing:
    """Return the run or sweep of a name in the storage of a configuration; ValueError if there is none."""
    path = config.storage_path
    return find_existing(f"{path.rstrip('/')}/{name}" if is_url(path) else root_of(config) / name)


def _stored_config(path: Path) -> LedgeredConfig:
    settings = read_object(path)
    if isinstance(settings.get("privacy"), dict):
        settings["privacy"].setdefault("rounding_share", 0.0)  # what earlier versions charged
    try:
        return load_sweep(settings) if "search" in settings else load_run(settings)
    except ConfigError as error:
        raise ConfigError(*(f"{path}: {line}" for line in error.lines)) from None


def folder_of(place: str | Path) -> Path | None:
    """Return the folder of the run or sweep that `place` names, or None; one in object storage is fetched."""
    if isinstance(place, str) and is_url(place):
        url, _, name = place.rstrip("/").rpartition("/")
        synchronise(url, local_folder(url))
        place = local_folder(url) / name
    wanted = Path(place).expanduser()
    candidates = [wanted, *([DEFAULT_FOLDER / wanted] if len(wanted.parts) == 1 else [])]
    return next((folder.resolve() for folder in candidates if (folder / CONFIG_FILE).is_file()), None)


def folders_in(root: Path) -> list[Path]:
    """Return the folders of the runs and sweeps in a storage folder, by name."""
    return [path.parent for path in sorted(root.glob(f"*/{CONFIG_FILE}"))]


def config_to_resume(place: str | Path) -> LedgeredConfig:
    """Return the configuration that resumes a killed run or sweep (`find_existing`).

    ValueError if there is none, it is finished, a live process holds it, its folder was renamed, or its ledger is gone.
    """
    existing = find_existing(place)
    config, storage, state = existing.config, existing.storage, existing.state()
    if state == "finished":
        raise ValueError(
            f"{storage.folder}: this {existing.kind} is finished; its results are in {storage.result_file.name}, and "
            "`dpzo export` rebuilds its model. There is nothing to resume."
        )
    if state == "running":
        raise ValueError(
            f"{storage.folder}: this {existing.kind} is held by a live process; `dpzo status {place}` shows it. "
            "Wait, or end that process."
        )
    if config.name != storage.name:
        raise ValueError(
            f"{storage.folder} is the folder of {config.name!r}, and the ledger knows it by that name. Rename the "
            f"folder to {config.name}."
        )
    if not storage.may_have_ledger():
        raise ValueError(
            f"{storage.root}: the ledger {storage.ledger_file.name} from which {config.name!r} drew is missing. Copy "
            "the whole storage folder; without the ledger nobody knows what was spent."
        )
    return config
