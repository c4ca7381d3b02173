"""Settings of earlier versions that were removed because no measurement supported them.

A stored configuration holds every key with its value. A removed key at its old default is ignored, so that runs of
earlier versions are resumed and exported. Any other value is refused.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BeforeValidator

REMOVED_KEYS: dict[str, Any] = {"rms_decay": None}
"""Removed keys of the `method` section, with the default that each had."""


def without_removed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given `method` section without removed keys; ValueError if one has not its old default."""
    for key, default in REMOVED_KEYS.items():
        if values.get(key, default) != default:
            raise ValueError(_sentence(key, "leave it out"))
    return {key: value for key, value in values.items() if key not in REMOVED_KEYS}


def _sentence(what: str, instead: str) -> str:
    return (
        f"{what} was removed, since no benchmark showed a gain: {instead} (a run that used it needs an older version)"
    )


def _refused(removed: str, instead: str) -> BeforeValidator:
    def validate(value: Any) -> Any:
        if value == removed:
            raise ValueError(_sentence(removed, f"use {instead}"))
        return value

    return BeforeValidator(validate)


REMOVED_DIRECTIONS = _refused("orthonormal", "gaussian or sphere")
REMOVED_SCORES = _refused("grasp", "synflow or magnitude")
