"""Holds the release logs of a storage folder against the ledger that counts them.

A log that records more than its ledger shows that the ledger was lost, or set back to an older copy. Whoever went on
would spend from zero, and the next statement would say that nothing else was released.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.planning.rules.base import KINDS_OF_LOG
from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger.engines import database_of, sqlite_file, sqlite_url
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.renyi_filter import RENYI_UNITS
from orchestrator.storage.paths import CONFIG_FILE, LEDGER_FILE, Storage, run_of_trial
from trainers.mechanism.log_reading import recorded_tokens
from trainers.mechanism.release_log import LOG_NAME
from trainers.run.header import flat

RUN_HOLDER = "run"  # who draws the tokens of a single run

_ADVICE = (
    "Restore the ledger's newest copy; from this one, releases would go uncounted. If the log is of another ledger, or "
    "the ledger is lost for good, move the run's folder away, and take its ε off the budget that you declare."
)


@dataclass(frozen=True)
class StoredLog:
    """A release log: its file, its ledger, its reservation, who drew (None: a trial of a sweep), and tokens by kind."""

    path: Path
    ledger_url: str
    database: str
    name: str
    holder: str | None
    tokens: Mapping[str, int]


def holder_of(number: int, seed: int = 0) -> str:
    """Return the name under which a run of a trial draws its tokens: `trial-` and the name of its folder."""
    return f"trial-{run_of_trial(number, seed)}"


def stored_logs(root: Path) -> list[StoredLog]:
    """Return the logs below a storage folder that drew tokens, as each run's configuration names its ledger.

    Raises:
        ValueError: a log cannot be read.
    """
    folders = sorted(path for path in root.glob("*") if path.is_dir())
    return [log for folder in folders for log in _logs_of(folder) if any(log.tokens.values())]


def require_logs_known(ledger: Ledger, root: Path) -> None:
    """Refuse a ledger that counts fewer tokens than a log below a storage folder records, which was drawn from it.

    Raises:
        LedgerCorruptError: the ledger was lost, or set back to an older copy.
        ValueError: a log cannot be read.
    """
    own = database_of(ledger.url)
    _require_known(ledger, [log for log in stored_logs(root) if log.database == own])


def require_all_logs_known(root: Path) -> None:
    """Do so for each ledger that a run below a storage folder names; a missing one is refused."""
    by_url: dict[str, list[StoredLog]] = {}
    for log in stored_logs(root):
        by_url.setdefault(log.ledger_url, []).append(log)
    for url, logs in by_url.items():
        file = sqlite_file(url)
        if file is not None and not file.is_file():
            raise LedgerCorruptError(f"There is no ledger at {file}, and {logs[0].path} records releases. {_ADVICE}")
        with Ledger(url, create=False) as ledger:
            _require_known(ledger, logs)


def counted_elsewhere(ledger: Ledger, root: Path) -> list[str]:
    """Return the names of the runs below a storage folder that another ledger counts."""
    own = database_of(ledger.url)
    return sorted({log.name for log in stored_logs(root) if log.database != own})


def _logs_of(folder: Path) -> Iterator[StoredLog]:
    """Yield the logs of a run or sweep; its trials on public rows draw no tokens."""
    settings = _stored_settings(folder / CONFIG_FILE)
    url = settings.get("budget.ledger") or sqlite_url(folder.parent / LEDGER_FILE)
    try:
        database = database_of(url)
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_FILE}: budget.ledger: {error}") from None
    paths = [folder / LOG_NAME]
    for releases_trials in (True, False) if settings.get("search.tune_on") is None else ():
        trials = Storage(folder.parent, folder.name, releases_trials=releases_trials).trials_folder
        paths += sorted(trials.glob(f"*/{LOG_NAME}"))
    for path in filter(Path.is_file, paths):
        run, recorded = recorded_tokens(path)
        own = None if settings.get("search.release") == "best" else RUN_HOLDER  # of the winner, its log is published
        holder = own if path.parent == folder else f"trial-{path.parent.name}"
        tokens = {KINDS_OF_LOG[kind]: number for kind, number in recorded.items()}
        yield StoredLog(path, url, database, run.get("name", folder.name), holder, tokens)


def _stored_settings(path: Path) -> dict[str, Any]:
    """Return a stored configuration, flat, as it stands; nothing where it is missing or is none."""
    try:
        settings = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(flat(settings)) if isinstance(settings, dict) else {}


def _require_known(ledger: Ledger, logs: Collection[StoredLog]) -> None:
    drawn = {name: ledger.drawn_by_holder(name) for name in {log.name for log in logs}}  # after the logs were read
    for log in logs:
        known: Counter[str] = Counter()
        for (kind, holder), number in drawn[log.name].items():
            known[kind.split("/")[0]] += number * (log.holder in (None, holder))  # of a menu, a trial takes one entry
        recorded = {RENYI_UNITS: sum(log.tokens.values())} if known[RENYI_UNITS] else log.tokens
        for kind, number in recorded.items():
            if known[kind] < number:
                raise LedgerCorruptError(
                    f"{log.holder or 'the winner'!r} has drawn {number} {kind!r} tokens of {log.name!r} by its own log "
                    f"({log.path}), and only {known[kind]} by the ledger at {ledger.url}. {_ADVICE}"
                )
