"""Parquet files, read in place and a batch at a time; every value has its column's type.

The library quotes values in its exceptions, so ours keep none of those, not even as their context.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainers.data.table import ROWS_AT_ONCE, Rows, Table, top_level

_DAMAGED = "is damaged, or holds text that is not UTF-8"


def open_parquet(path: Path, where: str) -> Table:
    """Open a Parquet file; ValueError, beginning with `where`, for a damaged one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = None
    with suppress(pa.ArrowException, OSError):
        file = pq.ParquetFile(path)
    if file is None:
        raise ValueError(f"{where} is not a Parquet file, or a damaged one")

    def records(columns: Sequence[str] | None) -> Rows:
        number = 0
        wanted = None if columns is None else top_level(columns, file.schema_arrow.names)
        batches = pq.ParquetFile(path).iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted)
        while True:
            batch = rows = None
            with suppress(pa.ArrowException, OSError, UnicodeDecodeError, ValueError, OverflowError):
                batch = next(batches, None)
                if batch is None:
                    return
                rows = batch.to_pylist()
            if rows is None:
                raise ValueError(f"{where} {_damage(batch)}, after row {number}")
            for row in rows:
                number += 1
                yield number, row

    return Table(file.schema_arrow.names, records, f"{where}, row", has_schema=True)


def _damage(batch: Any) -> str:
    """Say why the values of a Parquet file's batch, None if it could not be read, are none of Python's."""
    import pyarrow as pa

    if batch is None:
        return _DAMAGED
    for field in batch.schema:
        if pa.types.is_temporal(field.type):
            readable = False
            with suppress(ValueError, OverflowError):
                batch.column(field.name).to_pylist()
                readable = True
            if not readable:
                return (
                    f"holds, in the column {field.name!r}, a time outside the years 1 to 9999, or one finer than a "
                    "microsecond; store it as text"
                )
    return _DAMAGED
