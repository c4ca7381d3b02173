"""The header of a release log: what identifies a run. A log is resumed by the same run alone."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from trainers.config import RunConfig
from trainers.config.removed import REMOVED_KEYS
from trainers.mechanism.log_header import without_folders
from trainers.mechanism.plan import MechanismPlan

_IDENTIFYING = ("data", "task", "model", "method", "score")


def header_of(config: RunConfig, plan: MechanismPlan, base_digest: str) -> dict[str, Any]:
    """Return the header, flat: settings (without those of speed and machines), mechanism and base weights.

    Files are named without their folders.
    """
    sections = config.model_dump(mode="json", include={"name", *_IDENTIFYING})
    header = {"mechanism": dataclasses.asdict(plan), "base_digest": base_digest, **sections}
    return without_folders(dict(flat(header)))


def header_defaults() -> dict[str, Any]:
    """Return the default of every key of a header, removed keys included: what a version without the key did."""
    sections: dict[str, Any] = {name: RunConfig.model_fields[name].annotation for name in _IDENTIFYING}
    settings = {name: section.model_construct().model_dump(mode="json") for name, section in sections.items()}
    mechanism = {field.name: field.default for field in dataclasses.fields(MechanismPlan)}
    given = {name: value for name, value in mechanism.items() if value is not dataclasses.MISSING}
    settings["method"] |= REMOVED_KEYS
    return dict(flat({"mechanism": given, **settings}))


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
