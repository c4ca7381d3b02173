"""`dpzo export`: rebuilds the model of any released trial from its release log.

A release log and the base model together are the model. A sweep keeps the logs of all trials that it releases, and
exports only the best one itself. The folder may have been moved; the base model must lie where the configuration says.
"""

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

from orchestrator.config.models import SweepConfig
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.statement.card import Evidence
from orchestrator.privacy.statement.statement import PrivacyStatement
from orchestrator.storage.existing import find_existing
from orchestrator.storage.files import require_empty, whole_folder
from orchestrator.storage.log_copy import fetch_logs
from orchestrator.storage.paths import Storage
from orchestrator.storage.results import read_result, statement_in
from orchestrator.sweep.card import write_card
from orchestrator.sweep.exported_model import name_base_model
from orchestrator.sweep.log_export import export_log
from orchestrator.sweep.post_processing import PostProcessing
from orchestrator.sweep.public_tuning import PublicRows
from orchestrator.sweep.rebuild import by_transformers, loaded_from, rebuild_from_log
from trainers.config import EvaluatorName, RunConfig
from trainers.data.tokenization import load_tokenizer
from trainers.mechanism.release_log import LOG_NAME
from trainers.workspace import load_evaluator

ExportFormat = Literal["hf", "peft", "merged", "log"]


class Replay(NamedTuple):
    """The settings of a run, the folder of its release log, and the number of steps that the log must hold.

    `on_public` marks a trial that trained on the public rows of `search.tune_on`.
    """

    config: RunConfig
    folder: Path
    steps: int
    on_public: bool = False


class FinishedTraining(NamedTuple):
    """One training of finished work: its settings, its log with the number of its steps, and what is claimed of it.

    Args:
        what: its name, for errors.
        on_public: it trained on the public rows of `search.tune_on`.
    """

    storage: Storage
    config: RunConfig
    log: Path
    steps: int
    what: str
    statement: PrivacyStatement
    on_public: bool


def finished_training(source: str | Path, trial: int | None = None) -> FinishedTraining:
    """Return the training of a finished run, or of one trial of a finished sweep; ValueError as for `export_model`."""
    existing = find_existing(source)
    config, storage, result = existing.config, existing.storage, read_result(existing.storage)
    if result is None:
        raise ValueError(
            f"{storage.folder}: there is no {storage.result_file.name}; this {existing.kind} is not finished"
        )
    if isinstance(config, SweepConfig):
        replay = _released_trial(storage, config, result, trial)
    else:
        replay = _released_run(storage, config, result, trial)
    fetch_logs(storage)
    log = replay.folder / LOG_NAME
    if not log.is_file():
        raise ValueError(f"{log}: there is no release log, so the model cannot be rebuilt")
    what = storage.name if trial is None else f"trial {trial}"
    statement = statement_in(storage, result)
    return FinishedTraining(storage, replay.config, log, replay.steps, what, statement, replay.on_public)


def export_model(
    source: str | Path,
    to: Path,
    trial: int | None = None,
    evaluator: EvaluatorName | None = None,
    form: ExportFormat | None = None,
    base: str | None = None,
    change: PostProcessing | None = None,
    chosen_on: str | None = None,
    evidence: Evidence | None = None,
) -> Path:
    """Export the model of a finished run, or of one trial of a finished sweep, and return its folder.

    Args:
        source: folder or URL of the run or sweep, with its config.json and result.json.
        to: a new or empty folder.
        trial: number of a trial of a sweep; when None the best one (after public tuning, the private run).
        evaluator: replays the log, to the same bits with each of them; that of the run when None.
        form: a whole model (hf), an adapter (peft), a whole model with its adapter added (merged), or the release log
            alone (log). When None an adapter where one was trained, else a whole model.
        base: where the base model lies now; where the configuration says when None.
        change: what is done to the weights after the last step.
        chosen_on: the public rows that chose the change; None where its numbers were given by hand.
        evidence: what an attack reached, for the card.

    Raises:
        ValueError: nothing is finished there, the trial is not released or took no step, or `to` holds files.
    """
    require_empty(to)
    found = finished_training(source, trial)
    settings = _replayed_by(found.config, evaluator, change)
    _require_form(form, settings)
    done, loaded = None if change is None else change.refinement(chosen_on), loaded_from(settings, base)
    digest = _base_digest(loaded) if form == "log" else None
    with whole_folder(to) as part:
        if form == "log":
            export_log(found.config, found.log, part)
        elif form == "merged":
            _export_merged(settings, loaded, found, part, change)
        else:
            rebuild_from_log(settings, found.log.parent, found.steps, part, found.what, loaded, change)
            name_base_model(part)
        is_merged = form == "merged"
        write_card(part, found.config, found.statement, found.log, found.on_public, done, is_merged, digest, evidence)
    return to


def _base_digest(config: RunConfig) -> str | None:
    """Return the digest of the base model's weights; None where all of them train, so that the log's header has it."""
    if config.model.trainable == "full" and config.model.layers == "all":
        return None
    from trainers.evaluators.base_weights import base_weights_digest  # loads torch

    return base_weights_digest(config)


def _replayed_by(config: RunConfig, evaluator: EvaluatorName | None, change: PostProcessing | None) -> RunConfig:
    """Return the configuration with the evaluator that replays; an engine holds no iterates, and so changes nothing."""
    if change is not None:
        if evaluator == "vllm":
            raise ValueError("--evaluator vllm: an average or a scale is computed by transformers; leave it out")
        return by_transformers(config)
    if evaluator is None:
        return config
    return config.model_copy(update={"performance": config.performance.model_copy(update={"evaluator": evaluator})})


def _require_form(form: ExportFormat | None, config: RunConfig) -> None:
    is_adapter = config.model.trainable == "lora"
    if form == "hf" and is_adapter:
        raise ValueError("--format hf: this run trained an adapter; use --format merged for a whole model, or peft")
    if form in ("peft", "merged") and not is_adapter:
        raise ValueError(f"--format {form}: this run trained no adapter (model.trainable: lora); use --format hf")


def _export_merged(
    config: RunConfig, loaded: RunConfig, found: FinishedTraining, to: Path, change: PostProcessing | None
) -> None:
    """Rebuild the adapter, and write the base model with it added to its weights."""
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".dpzo-") as folder:
        rebuild_from_log(config, found.log.parent, found.steps, Path(folder), found.what, loaded, change)
        model = config.model.model_copy(update={"path": folder, "trainable": "full"})
        with closing(load_evaluator(config.model_copy(update={"model": model}), load_tokenizer(folder))) as merged:
            merged.export(to)


def _released_run(storage: Storage, config: RunConfig, result: dict[str, Any], trial: int | None) -> Replay:
    if trial is not None:
        raise ValueError(f"--trial {trial}: {storage.name!r} is one run, without trials; leave --trial out")
    return Replay(make_plan(config).trial({}), storage.folder, result["steps"])


def _released_trial(storage: Storage, config: SweepConfig, result: dict[str, Any], trial: int | None) -> Replay:
    row: dict[str, Any] | None = result["best"] if trial is None else _row(storage, result, trial)
    if row is None:
        raise ValueError(f"{storage.folder}: no trial of this sweep finished; name one that took steps by --trial")
    settings = make_plan(config).trial(row["values"])
    if config.search.tune_on is None:
        folder = storage.trial_folder(row["number"]) if storage.releases_trials else storage.folder
        return Replay(settings, folder, row["steps"])
    if trial is None:  # the private run with the best settings; only its log knows how many steps it took
        return Replay(settings, storage.folder, 1)
    public = PublicRows.count(config.search.tune_on, config.data).replace_training_rows(settings)
    return Replay(public, storage.trial_folder(row["number"]), row["steps"], on_public=True)


def _row(storage: Storage, result: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the row of a released trial that took steps."""
    best = result["best"]
    if not storage.releases_trials and (best is None or number != best["number"]):
        raise ValueError(
            f"--trial {number}: Release 'best' publishes the winner alone; with another trial its ε would not hold. Of "
            f"the winner: take its model in {storage.model_folder}, or run a sweep with release 'all'."
        )
    rows = {row["number"]: row for row in result["trials"]}
    if number not in rows:
        raise ValueError(f"--trial {number}: {storage.name!r} has the trials {', '.join(map(str, sorted(rows)))}")
    if not rows[number]["steps"]:
        raise ValueError(f"--trial {number}: it took no step ({rows[number]['state']}): its model is the base model")
    return rows[number]
