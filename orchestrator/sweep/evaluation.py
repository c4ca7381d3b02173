"""`dpzo evaluate`: scores the model of finished work on public rows, at no cost.

Rows that the ledger protects are refused, under whatever file name they lie: a score of them needs a token, which only
`score.on: private` of a run buys.
"""

from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator.budget.overlap import read_sources, require_apart
from orchestrator.config.models import LedgeredConfig
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.existing import Existing, find_existing
from orchestrator.storage.results import stored_result
from trainers.config.data import DataConfig
from trainers.config.score import ScoreConfig
from trainers.methods.catalogue import METHODS
from trainers.run.scoring import public_metrics
from trainers.workspace import check_inputs, open_workspace


def evaluate(place: str | Path, data: str | None = None) -> dict[str, Any]:
    """Return the metrics of a finished run's model on public rows, with their number.

    Args:
        place: folder or name of the run or sweep.
        data: a public file with the columns of the task; the run's public validation rows when None.

    Raises:
        ValueError: nothing is finished there, there is no model or no ledger, or the rows are private.
    """
    existing = find_existing(place)
    config = on_public_rows(existing, data)
    check_inputs(config)
    with Ledger(existing.storage.database_url, create=False) as ledger:
        charged = METHODS[config.method.name].private
        require_apart(config, read_sources(config, ledger.key()), ledger, is_charged=charged)
    scored = config.model_copy(update={"model": model_of(existing, config)})
    with closing(open_workspace(scored, private=False)) as workspace:
        metrics = public_metrics(scored, workspace.evaluator, workspace.validation)
        return {"name": existing.storage.name, "rows": len(workspace.validation), **metrics}


def on_public_rows(existing: Existing, data: str | None) -> LedgeredConfig:
    """Return the configuration with these public rows to score on."""
    config = existing.config
    if data is None and (config.score.on == "private" or config.data.validation is None):
        raise ValueError(
            f"{existing.storage.name} was scored on private rows, and a score of them costs a token. Name a file of "
            "public rows by --data"
        )
    rows = {"validation": data or config.data.validation, "validation_share": None}
    changes = {
        "data": DataConfig.model_validate(config.data.model_dump() | rows),
        "score": ScoreConfig(on="public", metric=config.score.metric),
    }
    return config.model_copy(update=changes)


def model_of(existing: Existing, config: LedgeredConfig) -> Any:
    """Return the model section for the exported model; an adapter is added to its base model's weights."""
    storage, result = existing.storage, stored_result(existing.storage)
    if result is None or result.model_folder is None or not storage.model_folder.is_dir():
        raise ValueError(f"{storage.folder}: there is no finished model; `dpzo export` needs one too")
    trainable = "full" if config.model.trainable == "lora" else config.model.trainable
    return config.model.model_copy(update={"path": str(storage.model_folder), "trainable": trainable})
