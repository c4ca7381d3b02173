"""`dpzo export`: the model of any released trial, rebuilt from its release log, whenever it is wanted.

A release log with the base model is the model; a sweep keeps the logs of all trials that it releases, and exports the
best one alone. The folder may have been moved; the base model must lie where the configuration says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.config import SweepConfig, load_run, load_sweep
from orchestrator.planning import make_plan
from orchestrator.publication import rebuild_from
from orchestrator.storage import Storage
from orchestrator.tuning import public_rows
from trainers.config import RunConfig


def export(source: Path, to: Path, trial: int | None = None) -> Path:
    """Export the model of a finished run, or of one trial of a finished sweep, and return its folder.

    Args:
        source: folder of the run or sweep, with its config.json and result.json.
        to: a new or empty folder.
        trial: number of a trial of a sweep; when None the best one (after public tuning, the private run).

    Raises:
        ValueError: nothing is finished there, the trial is not released or took no step, or `to` holds files.
    """
    storage = Storage(source.expanduser().resolve().parent, source.expanduser().resolve().name)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"--to {to}: holds something already; name a new or empty folder")
    config, result = _finished(storage)
    if not isinstance(config, SweepConfig):
        if trial is not None:
            raise ValueError(f"--trial {trial}: {storage.name!r} is one run, without trials; leave it out")
        rebuild_from(make_plan(config).trial({}), storage.folder, result["steps"], to)
        return to
    best = result["best"]
    if best is None:
        raise ValueError(f"{storage.folder}: no trial of this sweep finished; there is no model to export")
    chosen = best if trial is None else _row(storage, config, result, trial)
    rebuild_from(*_replay(storage, config, chosen, private_run=trial is None and config.search.tune_on is not None), to)
    return to


def _finished(storage: Storage) -> tuple[RunConfig, dict[str, Any]]:
    for file in (storage.config_file, storage.result_file):
        if not file.is_file():
            raise ValueError(
                f"{storage.folder}: there is no {file.name}; expected the folder of a finished run or sweep"
            )
    settings = json.loads(storage.config_file.read_text(encoding="utf-8"))
    config = load_sweep(settings) if "search" in settings else load_run(settings)
    return config, json.loads(storage.result_file.read_text(encoding="utf-8"))


def _row(storage: Storage, config: SweepConfig, result: dict[str, Any], number: int) -> dict[str, Any]:
    """Return what is known of a trial that is released."""
    if config.search.release == "best" and number != result["best"]["number"]:
        raise ValueError(
            f"--trial {number}: Release 'best' publishes the winner alone; its ε does not hold once another trial "
            f"leaves. The winner's: take its model in {storage.model_folder}, or run a sweep with release 'all'."
        )
    found = {row["number"]: row for row in result["trials"]}
    if number not in found:
        raise ValueError(f"--trial {number}: {storage.name!r} has trials {min(found)} to {max(found)}")
    if not found[number]["steps"]:
        raise ValueError(f"--trial {number}: it {found[number]['state']} before its first step: there is no model")
    return found[number]


def _replay(
    storage: Storage, config: SweepConfig, row: dict[str, Any], *, private_run: bool
) -> tuple[RunConfig, Path, int]:
    """Return settings, folder of the log and steps of a trial; of the private run after public tuning, one at least."""
    trial = make_plan(config).trial(row["values"])
    if private_run:
        return trial, storage.folder, 1
    if config.search.tune_on is not None:
        trial = public_rows(config.search.tune_on).put_into(trial)
    where = storage.folder if config.search.release == "best" else storage.trial_folder(row["number"])
    return trial, where, row["steps"]
