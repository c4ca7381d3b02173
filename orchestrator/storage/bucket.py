"""Object storage as `storage_path`: results, models and statements lie there; the work is done in a local folder.

Object storage has neither locks nor appends that are durable when they return, and a release log needs both. So the
logs lie in the ledger's PostgreSQL database (log_copy.py), which also holds the lock of a run. What is published is
only ever written whole: the configuration once the budget is reserved, and the rest when the run is finished.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import text

from orchestrator.config.models import CONFIG_FILE, LedgeredConfig, SweepConfig
from orchestrator.privacy.ledger.engines import open_engine
from trainers.config import RunConfig
from trainers.mechanism.release_log import BASIS_FILES, LOG_NAME
from trainers.methods.catalogue import METHODS

_RESULT = "result.json"
_FETCHED = {CONFIG_FILE, _RESULT, "privacy_statement.json", "privacy_statement.txt", LOG_NAME}


def is_url(storage_path: str) -> bool:
    return "://" in storage_path


def local_folder(url: str) -> Path:
    """Return the folder on this machine in which work for a URL is done; DPZO_CACHE names another place for it."""
    place = os.environ.get("DPZO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "dpzo")
    return Path(place).expanduser().resolve() / hashlib.blake2b(_normal(url).encode(), digest_size=8).hexdigest()


def require_fit_for_bucket(config: RunConfig) -> None:
    """Refuse, with a ValueError, a run that cannot work without a folder that keeps what is written to it."""
    ledger = config.budget.ledger if isinstance(config, LedgeredConfig) else None
    if ledger is None or not ledger.startswith("postgres"):
        raise _unfit("name a PostgreSQL database: budget.ledger: postgresql+psycopg://user@host/name")
    if config.performance.log != "database":
        raise _unfit("set performance.log: database")
    if METHODS[config.method.name].order != "zeroth":
        raise _unfit(f"{config.method.name} keeps the weights of its snapshots in its folder; name a folder for it")
    if isinstance(config, SweepConfig) and config.search.release == "best":
        raise _unfit("search.release: best hides how long the search took, and objects show their dates; name a folder")


def publish(url: str | None, folder: Path, *parts: str) -> None:
    """Copy what may leave a run's folder to object storage: all of it, or these files and subfolders.

    Args:
        url: of the run; nothing is done without one.
        folder: of the run on this machine.
        parts: names below the folder.
    """
    if url is None:
        return
    system, place = _open(url)
    for path in _leaving(folder, parts):
        target = f"{place}/{path.relative_to(folder).as_posix()}"
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(path), target)


def synchronise(url: str, root: Path) -> None:
    """Bring what tells of the runs below a URL into a local folder, and publish what a killed process had not yet.

    Configurations, results, statements, logs and bases come; models stay.
    """
    system, place = _open(url)
    found = system.find(place, detail=True) if system.isdir(place) else {}
    for remote, facts in found.items():
        relative = PurePosixPath(remote.removeprefix(place).lstrip("/"))
        local = root / relative
        is_wanted = relative.name in _FETCHED or fnmatch(relative.name, BASIS_FILES)
        is_here = local.is_file() and local.stat().st_size >= facts["size"]  # a killed fetch leaves less
        if is_wanted and not is_here and ".." not in relative.parts:
            local.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(remote, str(local))
    for result in root.glob(f"*/{_RESULT}"):
        if not system.exists(f"{place}/{result.parent.name}/{_RESULT}"):
            publish(f"{_normal(url)}/{result.parent.name}", result.parent)


@contextmanager
def locked_in_database(ledger_url: str, url: str) -> Iterator[bool]:
    """Hold the lock of a run on all machines, as long as the connection lasts; False where another process holds it."""
    key = int.from_bytes(hashlib.blake2b(_normal(url).encode(), digest_size=8).digest(), signed=True)
    engine = open_engine(ledger_url, create=False).execution_options(isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar())
    finally:
        engine.dispose()  # and with the connection, the lock


def _leaving(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of a run that are released; results come last, because they say that the rest is there."""
    places = [folder / part for part in parts] or [folder]
    found = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
    released = [path for path in found if path.is_file() and not _stays(path.relative_to(folder))]
    yield from sorted(released, key=lambda path: path.name == _RESULT)


def _stays(path: Path) -> bool:
    return path.parts[0] == "operator-only" or any(part.startswith(".") for part in path.parts)


def _open(url: str) -> tuple[Any, str]:
    """Return a file system and the path in it; ValueError where there is none for the URL's scheme."""
    import fsspec

    try:
        return fsspec.url_to_fs(_normal(url))
    except (ImportError, ValueError) as error:
        raise ValueError(f"storage_path: {url}: {error}") from None


def _normal(url: str) -> str:
    return url.rstrip("/")


def _unfit(what: str) -> ValueError:
    return ValueError(
        "storage_path: object storage has neither locks nor appends that are durable when they return, and a release "
        f"log needs both. Name a folder that all nodes mount (NFS 4), or {what}."
    )
