"""The files of a finished run or sweep: configuration, results and statement, each written in full or not at all."""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_run, load_sweep, resolved_json
from orchestrator.privacy.statement.statement import PrivacyStatement
from orchestrator.storage.files import changed, read_object, write_whole
from orchestrator.storage.paths import Storage, storage_of, with_absolute_paths
from orchestrator.storage.trials import TrialRow
from trainers.config import RunConfig
from trainers.config.mechanism import rounding_share
from trainers.run.header import flat

# settings that may differ when a run is resumed, except those that its statement names
_PLACE_AND_SPEED = (
    "storage_path",
    "performance.",
    "resources.",
    "search.concurrent_trials",
    "budget.patience_s",
    "budget.acknowledge_overlap",  # asked for before the first reservation only
)
_STATED = ("performance.evaluator", "performance.vllm.batch_invariant")


@dataclass(frozen=True)
class StoredRun:
    """The result of `dpzo train`. A score is in the units of the configured metric, None without validation data."""

    name: str
    folder: Path
    model_folder: Path
    steps: int
    steps_charged: int
    zero_shot: float | None
    score: float | None
    scores: list[float | None]
    seconds: float
    statement: PrivacyStatement


@dataclass(frozen=True)
class StoredSweep:
    """The result of `dpzo sweep`; `best` is a complete trial, None where no trial finished.

    Under `release: best`, `trials` holds the winner alone, and `seconds` is None because it hints at the number of
    trials. With `search.tune_on` the trials trained on public rows; `private_score` is the score of the private run.
    `front` has the numbers of the trials that none beats, where search.objectives are two; `best` has their best score.
    """

    name: str
    folder: Path
    model_folder: Path | None
    trials: list[TrialRow]
    best: TrialRow | None
    zero_shot: float | None
    seconds: float | None
    statement: PrivacyStatement
    private_score: float | None = None
    front: list[int] | None = None


def result_json(result: StoredRun | StoredSweep) -> str:
    """Return a result as JSON, with its statement; a number that is not finite is null."""
    return to_json(result, indent=2, inf_nan_mode="null").decode() + "\n"


def require_same_settings(storage: Storage, config: RunConfig) -> None:
    """Refuse a folder whose settings differ in more than where and how fast a run computes; ValueError lists them."""
    if not storage.config_file.exists():
        return
    stored, wanted = (dict(flat(one)) for one in (read_object(storage.config_file), json.loads(resolved_json(config))))
    earlier = wanted["privacy.rounding_share"] if rounding_share(config) == 0.0 else 0.0  # charged and not stored then
    known = {**_with_defaults(storage.config_file), "privacy.rounding_share": earlier, **stored}
    different = [
        key
        for key in sorted(known.keys() | wanted.keys())
        if known.get(key) != wanted.get(key)
        and (not key.startswith(_PLACE_AND_SPEED) or (key in _STATED and key in stored))
    ]
    if different:
        details = "; ".join(f"{key}: {known.get(key)!r} there, {wanted.get(key)!r} now" for key in different)
        raise ValueError(f"name: {storage.folder} holds other settings ({details}). Give another name.")


def _with_defaults(path: Path) -> dict[str, Any]:
    """Return a stored configuration, flat, with the defaults of settings that its version did not know."""
    settings = read_object(path)
    try:
        config = load_sweep(settings) if "search" in settings else load_run(settings)
    except ConfigError:  # it is compared as it stands
        return {}
    return dict(flat(json.loads(resolved_json(config))))


def write_config(storage: Storage, config: RunConfig) -> None:
    write_whole(storage.config_file, resolved_json(config))


def write_result(storage: Storage, result: StoredRun | StoredSweep) -> None:
    """Write the statement, as JSON and as text, and then the results."""
    write_whole(storage.statement_file, result.statement.model_dump_json(indent=2) + "\n")
    write_whole(storage.statement_file.with_suffix(".txt"), result.statement.text())
    write_whole(storage.result_file, result_json(result))


def date_released_files(storage: Storage, day: str) -> None:
    """Give everything that leaves the date of a day in UTC: its own would tell how long a secret search took."""
    begun = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    for folder, subfolders, files in os.walk(storage.folder):
        subfolders[:] = [name for name in subfolders if Path(folder, name) != storage.operator_folder]
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            os.utime(path, (begun, begun))


def finished_result(config: RunConfig) -> tuple[dict[str, Any], PrivacyStatement] | None:
    """Return the results of a run or sweep that is finished with these settings, and its statement; None before that.

    ValueError where others are there, or the file of the results was changed.
    """
    config = with_absolute_paths(config)
    storage = storage_of(config)
    require_same_settings(storage, config)
    result = read_result(storage)
    if result is None:
        return None
    return result, statement_in(storage, result)


def statement_in(storage: Storage, result: dict[str, Any]) -> PrivacyStatement:
    """Return the statement of finished results; ValueError where it was changed."""
    try:
        return PrivacyStatement.model_validate(result.get("statement"))
    except ValidationError:
        raise changed(storage.result_file, "expected a privacy statement") from None


class _TrialInFile(BaseModel):
    """What is read of a trial in a file of results."""

    number: int = Field(ge=0)
    values: dict[str, Any]
    state: str
    steps: int = Field(ge=0)


class _RunFile(BaseModel):
    """What is read of a run in its file of results."""

    steps: int = Field(ge=0)


class _SweepFile(BaseModel):
    """What is read of a sweep in its file of results."""

    trials: list[_TrialInFile]
    best: _TrialInFile | None


def read_result(storage: Storage) -> dict[str, Any] | None:
    """Return the results of a finished run or sweep, or None; ValueError where the file was changed."""
    path = storage.result_file
    if not path.exists():
        return None
    result = read_object(path)
    try:
        (_SweepFile if "trials" in result else _RunFile).model_validate(result)
    except ValidationError as error:
        place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        raise changed(path, f"{place} is missing or wrong") from None
    return result


def stored_result(storage: Storage) -> StoredRun | StoredSweep | None:
    """Return the results of a finished run or sweep as they were, in the folder where they lie now; None before.

    ValueError where the file was changed. What a later version adds is left out.
    """
    found = read_result(storage)
    if found is None:
        return None
    moved = {"folder": storage.folder, "model_folder": found.get("model_folder") and storage.model_folder}
    kind: type[StoredRun | StoredSweep] = StoredSweep if "trials" in found else StoredRun
    try:
        return TypeAdapter(kind).validate_python({**found, **moved})
    except ValidationError as error:
        place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        raise changed(storage.result_file, f"{place} is missing or wrong") from None
