"""`dpzo resume`: what a killed run or sweep was started with is in its folder; that is enough to go on."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config import LedgeredConfig
from orchestrator.existing import find


def to_resume(place: str | Path) -> LedgeredConfig:
    """Return the configuration to start again, which goes on where the killed run or sweep was.

    Args:
        place: its folder, or its name in the default storage folder.

    Raises:
        ValueError: nothing was started there, it is finished, a live process holds it, its folder has another name
            now, or its ledger stayed behind.
    """
    existing = find(place)
    config, storage, state = existing.config, existing.storage, existing.state()
    what = "sweep" if existing.is_sweep else "run"
    if state == "finished":
        raise ValueError(
            f"{storage.folder}: this {what} is finished; its results are in {storage.result_file.name}, and "
            "`dpzo export` rebuilds its model. There is nothing to resume."
        )
    if state == "running":
        raise ValueError(
            f"{storage.folder}: this {what} is held by a live process; `dpzo status {place}` shows it. Wait, or end "
            "that process."
        )
    if config.name != storage.name:
        raise ValueError(
            f"{storage.folder} is the folder of {config.name!r}, under which the ledger knows it. Name it "
            f"{config.name} again."
        )
    if storage.ledger_url is None and not storage.ledger_file.is_file():
        raise ValueError(
            f"{storage.root}: the ledger {storage.ledger_file.name} from which {config.name!r} drew is not here. Bring "
            "the whole storage folder: without it what was spent is not known."
        )
    return config
