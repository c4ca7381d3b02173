"""A model in kilobytes: its release log and its settings, from which the base model rebuilds it to the same bits.

Such a folder holds `release_log.jsonl`, the run's resolved configuration, and the privacy card. The log's header has
the digest of the base model's weights, so another base model is refused.
"""

import shutil
from pathlib import Path

from pydantic import BaseModel, ValidationError

from orchestrator.config.loading import load_run, resolved_json
from orchestrator.privacy.statement.card import CARD_FORMAT, Refinement, ReleaseLog
from orchestrator.storage.files import changed, read_object, whole_folder, write_whole
from orchestrator.sweep.card import CARD_JSON, CARD_README
from orchestrator.sweep.post_processing import PostProcessing
from orchestrator.sweep.rebuild import by_transformers, rebuild_from_log
from trainers.config import RunConfig
from trainers.mechanism.release_log import LOG_NAME
from trainers.methods.catalogue import METHODS

SETTINGS_FILE = "run.json"


def export_log(config: RunConfig, log: Path, to: Path) -> None:
    """Write the log of a run, and its settings, into a folder.

    ValueError for a method of gradients: its log holds digests, and the weights lie in its snapshots.
    """
    if METHODS[config.method.name].order != "zeroth":
        raise ValueError(
            f"--format log: {config.method.name} releases gradients, which its log does not hold; use --format hf"
        )
    write_whole(to / SETTINGS_FILE, resolved_json(config))
    shutil.copyfile(log, to / LOG_NAME)


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
    with whole_folder(to) as part:
        rebuild_from_log(config, source, card.release_log.steps, part, card.name, base, change)
        for name in (CARD_JSON, CARD_README):
            shutil.copyfile(source / name, part / name)


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
