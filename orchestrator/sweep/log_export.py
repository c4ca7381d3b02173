"""A model in kilobytes: its release log and its settings, from which the base model rebuilds it to the same bits.

Such a folder holds `release_log.jsonl`, the run's resolved configuration, and the privacy card. The log's header has
the digest of the base model's weights, so another base model is refused.
"""

import json
import shutil
from pathlib import Path

from orchestrator.config.loading import load_run, resolved_json
from orchestrator.privacy.statement.card import PrivacyCard
from orchestrator.storage.files import changed, read_object, write_whole
from orchestrator.sweep.card import CARD_JSON, CARD_README
from orchestrator.sweep.rebuild import rebuild_from_log
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
    card = read_object(source / CARD_JSON)
    try:
        steps = int(card["release_log"]["steps"])
    except (KeyError, TypeError, ValueError):
        raise changed(
            source / CARD_JSON, f"expected a card of the form {PrivacyCard.model_fields['format'].default}"
        ) from None
    config = load_run(json.loads((source / SETTINGS_FILE).read_text(encoding="utf-8")))
    rebuild_from_log(config, source, steps, to, card["name"], base)
    for name in (CARD_JSON, CARD_README):
        shutil.copyfile(source / name, to / name)
