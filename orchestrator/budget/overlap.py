"""Which rows of a plan a ledger protects already, under whatever file name: found before anything is reserved.

Rows are compared by keyed MACs of their text columns (`row_digests`, `row_sketch`). Two sets overlap when they share
more than 10 distinct rows and more than 1 % of the smaller one: a sentence that two people wrote is no overlap.
Rows that directions are learned from (data.public) may share none with the private rows of their own run.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.row_sketch import RowSketch
from trainers.config import RunConfig
from trainers.data.row_digests import SourceDigests, read_digests

LEARNED_FROM = "data.public"


class SourceRows(NamedTuple):
    """A source of rows: the keyed fingerprint of all of it, and the sketch of its rows."""

    fingerprint: str
    rows: RowSketch
    row_macs: NDArray[np.uint64]


def read_sources(config: RunConfig, key: bytes) -> dict[str, SourceRows]:
    """Return every source of rows, by its place in the configuration; each is read once."""
    data = config.data
    places = {"data.train": data.train, "data.validation": data.validation, LEARNED_FROM: data.public}
    if isinstance(config, SweepConfig):
        places["search.tune_on"] = config.search.tune_on
    columns = config.task.text_columns
    read = {field: read_digests(source, columns, key, field) for field, source in places.items() if source is not None}
    return {field: _of(rows) for field, rows in read.items()}


def require_apart(config: RunConfig, sources: dict[str, SourceRows], ledger: Ledger, *, is_charged: bool) -> None:
    """Refuse public rows that are protected, and private rows that another budget protects too.

    Args:
        sources: of the configuration, from `read_sources`.
        is_charged: whether the run is private, so that its own private rows are protected as well.

    Raises:
        ValueError: naming the source and the budget; neither a row nor a number of rows.
    """
    scored = ["data.validation"] if config.score.on == "private" and "data.validation" in sources else []
    private = {field: sources[field] for field in ["data.train", *scored]}
    for field in sources.keys() - private.keys():
        protected = private if is_charged else {}
        _require_public(field, sources[field], protected, ledger, any_row=field == LEARNED_FROM)
    if not (isinstance(config, LedgeredConfig) and config.budget.acknowledge_overlap):
        for field, source in private.items():
            _require_own_budget(field, source, private["data.train"], ledger)


def require_public_file(path: str, field: str, config: RunConfig, ledger: Ledger, *, is_charged: bool) -> None:
    """Refuse a file of rows by which a model is chosen, where it is protected or shares a row with private ones.

    ValueError as for `require_apart`.
    """
    key, columns, scored = ledger.key(), config.task.text_columns, config.score.on == "private"
    private = {"data.train": config.data.train, "data.validation": config.data.validation if scored else None}
    read = {name: read_digests(source, columns, key, name) for name, source in private.items() if source is not None}
    public = read_digests(path, columns, key, field)
    protected = {name: _of(rows) for name, rows in read.items()} if is_charged else {}
    _require_public(field, _of(public), protected, ledger, any_row=True)


def _of(read: SourceDigests) -> SourceRows:
    return SourceRows(read.fingerprint, RowSketch.of(read.row_macs), read.row_macs)


def _require_public(
    field: str, source: SourceRows, private: dict[str, SourceRows], ledger: Ledger, *, any_row: bool
) -> None:
    same = ledger.budget_of(source.fingerprint)
    budgets = [*([same.name] if same else []), *ledger.overlapping(None, source.rows)]
    owners = [f"that budget {name!r} protects" for name in budgets if ledger.spent(name).epsilon < math.inf]
    owners += [
        f"of {other}, which are private"
        for other, protected in private.items()
        if source.fingerprint == protected.fingerprint
        or source.rows.overlaps(protected.rows)
        or (any_row and np.intersect1d(source.row_macs, protected.row_macs).size)
    ]
    if owners:
        raise ValueError(
            f"{field} holds rows {owners[0]}, and what is learned from public rows is not charged. Give other rows, or "
            "for validation score.on: private."
        )


def _require_own_budget(field: str, source: SourceRows, train: SourceRows, ledger: Ledger) -> None:
    own = ledger.budget_of(source.fingerprint)
    others = ledger.overlapping(own.name if own else None, source.rows)
    owners = [f"that budget {name!r} protects" for name in others]
    if source.fingerprint != train.fingerprint and source.rows.overlaps(train.rows):
        owners.append("of data.train")
    if owners:
        raise ValueError(
            f"{field} holds rows {owners[0]}, and would have a budget of its own: whoever is in both pays both, and "
            "neither total says so. Use the data that the budget was made for. To accept it, give "
            "--acknowledge-overlap or budget.acknowledge_overlap: true; the statement then names the other budget."
        )
