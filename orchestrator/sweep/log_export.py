"""A model in kilobytes: its release log and its settings, from which the base model rebuilds it to the same bits.

Such a folder holds `release_log.jsonl`, the run's resolved configuration, the privacy card, and the bases of directions
that public rows gave. It names no place on the machine where it was written. The digest of the base model's weights is
in the log's header or, where not all of them train, in the card, so another base model is refused.
"""

import shutil
from pathlib import Path

from pydantic import BaseModel, ValidationError

from orchestrator.config.loading import load_run, resolved_json
from orchestrator.privacy.display import source_name
from orchestrator.privacy.statement.card import CARD_FORMAT, Refinement, ReleaseLog
from orchestrator.storage.files import changed, read_object, whole_folder, write_whole
from orchestrator.storage.paths import DEFAULT_FOLDER
from orchestrator.sweep.card import CARD_JSON, CARD_README
from orchestrator.sweep.exported_model import name_base_model
from orchestrator.sweep.post_processing import PostProcessing
from orchestrator.sweep.rebuild import by_transformers, loaded_from, rebuild_from_log
from trainers.config import RunConfig
from trainers.mechanism.release_log import BASIS_FILES, LOG_NAME
from trainers.methods.catalogue import METHODS

SETTINGS_FILE = "run.json"


def export_log(config: RunConfig, log: Path, to: Path) -> None:
    """Write the log of a run, with its bases and its settings, into a folder.

    ValueError for a method of gradients: its log holds digests, and the weights lie in its snapshots.
    """
    if METHODS[config.method.name].order != "zeroth":
        raise ValueError(
            f"--format log: {config.method.name} releases gradients, which its log does not hold; use --format hf"
        )
    write_whole(to / SETTINGS_FILE, resolved_json(_without_places(config)))
    for file in (log, *log.parent.glob(BASIS_FILES)):
        shutil.copyfile(file, to / file.name)


def _without_places(config: RunConfig) -> RunConfig:
    """Return the settings of a run whose inputs are named without their folders, as in the header of its log."""
    data = config.data
    names = {"train": data.train, "validation": data.validation, "public": data.public}
    changes = {
        "storage_path": str(DEFAULT_FOLDER),
        "data": data.model_copy(update={key: place and source_name(place) for key, place in names.items()}),
        "model": config.model.model_copy(update={"path": source_name(config.model.path)}),
    }
    return config.model_copy(update=changes)


def rebuild_exported(source: Path, to: Path, base: str | None = None) -> None:
    """Rebuild the model of a folder that `export_log` wrote; `base` is where the base model lies now.

    ValueError if the folder lacks a file, or the base model has other weights.
    """
    for name in (SETTINGS_FILE, LOG_NAME, CARD_JSON):
        if not (source / name).is_file():
            raise ValueError(f"{source}: there is no {name}; expected a folder of `dpzo export --format log`")
    card = _card_in(source / CARD_JSON)
    config, change = load_run(read_object(source / SETTINGS_FILE)), PostProcessing.in_card(card.refinement)
    if change is not None:
        config = by_transformers(config)
    loaded = loaded_from(config, base)
    _require_base(loaded, card.release_log.base_model_sha256)
    if any(source.glob(BASIS_FILES)):  # public rows are read only to make what lies there; a digest in the log holds it
        loaded = loaded.model_copy(update={"data": loaded.data.model_copy(update={"public": None})})
    with whole_folder(to) as part:
        rebuild_from_log(config, source, card.release_log.steps, part, card.name, loaded, change)
        name_base_model(part)
        for name in (CARD_JSON, CARD_README):
            shutil.copyfile(source / name, part / name)


def _require_base(loaded: RunConfig, digest: str | None) -> None:
    if digest is None:
        return
    from trainers.evaluators.base_weights import base_weights_digest  # loads torch

    if base_weights_digest(loaded) != digest:
        raise ValueError(
            f"--model {loaded.model.path}: its weights are not those of the base model on which the log was written. "
            "Give that one"
        )


class _Card(BaseModel):
    """What a rebuild reads of a card; what a later version adds is left out."""

    name: str
    release_log: ReleaseLog
    refinement: Refinement | None = None


def _card_in(path: Path) -> _Card:
    try:
        return _Card.model_validate(read_object(path))
    except ValidationError:
        raise changed(path, f"expected a card of the form {CARD_FORMAT}") from None
