"""The first line of a release log says which run it is of, in words that tell nothing of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PLACES = ("data.train", "data.validation", "data.public", "model.path")


def without_folders(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header whose local files and folders are named without the folders above them.

    What they hold is known by other means: the base weights by their digest in the header, private rows by the
    fingerprints in the ledger. A name on the hub stays.
    """
    return {key: _name(value) if key in _PLACES and isinstance(value, str) else value for key, value in header.items()}


def _name(path: str) -> str:
    return Path(path).name if path.startswith(("/", "~", ".")) else path


def filled(header: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header of any version as this one writes it.

    A missing key has its default; one whose place holds a whole section is not missing.
    """
    sections = {key.rsplit(".", depth)[0] for key in header for depth in range(1, key.count(".") + 1)}
    known = {key: value for key, value in defaults.items() if key not in sections}
    return without_folders({**known, **header})


def require_same_run(path: Path, logged: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse, with a ValueError, the log at `path` whose header is not the expected one."""
    different = sorted(key for key in logged.keys() | expected.keys() if logged.get(key) != expected.get(key))
    if different:
        details = "; ".join(f"{key}: {logged.get(key)!r} in the log, {expected.get(key)!r} now" for key in different)
        raise ValueError(f"{path} belongs to a run with other settings ({details}). Give this run another name.")
