"""The sketches of the rows that each budget protects. They serve to find overlaps, and are no part of the chain.

A budget has none until its first reservation (or, if an earlier version made it, the next one).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
)

from orchestrator.privacy.ledger.budgets_table import find_budget, lock_ledger
from orchestrator.privacy.ledger.row_sketch import RowSketch
from orchestrator.privacy.ledger.tables import metadata

sketches = Table(
    "row_sketches",  # created when first used: ledgers of earlier versions have none
    metadata,
    Column("budget", String(255), ForeignKey("budgets.name"), primary_key=True),
    Column("level", Integer, nullable=False),
    Column("macs", LargeBinary, nullable=False),  # little-endian uint64, ascending
)

_OF_BUDGET = select(sketches).where(sketches.c.budget == bindparam("budget"))
_OF_OTHERS = select(sketches).where(sketches.c.budget != bindparam("budget")).order_by(sketches.c.budget)


def add_rows(connection: Connection, budget: str, rows: RowSketch) -> None:
    """Add rows to the sketch of a budget; idempotent. Another task may read other columns of the same rows."""
    lock_ledger(connection)
    find_budget(connection, budget)
    known = _rows_of(connection, budget)
    together = rows if known is None else known.union(rows)
    if known is not None and (known.level, len(known.macs)) == (together.level, len(together.macs)):
        return  # it holds all of them already
    sketches.create(connection, checkfirst=True)
    connection.execute(delete(sketches).where(sketches.c.budget == budget))
    values = {"level": together.level, "macs": together.macs.astype("<u8").tobytes()}
    connection.execute(insert(sketches).values(budget=budget, **values))


def overlapping(connection: Connection, budget: str | None, rows: RowSketch | None) -> list[str]:
    """Return the other budgets whose rows overlap with `rows`, or else with those that `budget` protects."""
    if rows is None and budget is not None:
        rows = _rows_of(connection, budget)
    if rows is None:
        return []
    return [name for name, known in _sketches(connection, _OF_OTHERS, budget or "") if known.overlaps(rows)]


def _rows_of(connection: Connection, budget: str) -> RowSketch | None:
    return dict(_sketches(connection, _OF_BUDGET, budget)).get(budget)


def _sketches(connection: Connection, query: Select[Any], budget: str) -> Iterator[tuple[str, RowSketch]]:
    """Yield budget and sketch of each row of a query; nothing where the table is missing."""
    if connection.dialect.has_table(connection, sketches.name):
        for row in connection.execute(query, {"budget": budget}):
            yield row.budget, RowSketch(row.level, np.frombuffer(row.macs, "<u8").astype(np.uint64))
