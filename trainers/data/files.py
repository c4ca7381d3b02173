"""Local files of rows: JSONL, CSV, TSV and Parquet, read where they lie.

They are read line by line, or by pyarrow, and not through the `datasets` library: it would write a second copy of the
private rows into a cache folder that outlives the run and that nobody thinks of protecting or deleting.

Errors tell a line (or row) number and a column, never what stands there: they end in terminals, logs and tickets.
Parsers quote their input in their exceptions, so none of those is passed on or even kept as the context of ours.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Records = Iterator[tuple[int, list[str]]]
Rows = Iterator[tuple[int, dict[str, Any]]]

_HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")  # JSON's \ud83d alone: no text, and no tokenizer takes it
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Table:
    """An opened source.

    Args:
        names: its columns.
        records: columns (None: all) → (line or row number, row as it stands) one after the other.
        where: what begins every error about a row.
        shows_names: whether `names` are sure to be names. The first line of a CSV file without a header is a row.
    """

    names: list[str]
    records: Callable[[Sequence[str] | None], Rows]
    where: str
    shows_names: bool = True

    def read(self, columns: Sequence[str]) -> Rows:
        """Yield (line or row number, row of just `columns`) one after the other; checks every value of them."""
        for number, row in self.records(columns):
            yield number, checked_row(row, columns, f"{self.where} {number}")


def open_table(path: Path, where: str) -> Table:
    """Open a file by its suffix; `where` begins every error.

    Raises:
        ValueError: unknown suffix, an empty or malformed file.
    """
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise ValueError(
            f"{where} ends in {path.suffix!r}, which tells no known format. Expected one of {', '.join(_OPENERS)}"
        )
    return opener(path, where)


def checked_row(row: Mapping[str, Any], columns: Sequence[str], where: str) -> dict[str, Any]:
    """Return the row's `columns`; 'answers.text' is the column itself or else 'text' in the mapping 'answers'.

    Raises:
        ValueError: a column is missing, null, neither text, number nor a list of those, or no valid text.
    """
    found = {column: _value(row, column) for column in columns}
    for column, value in found.items():
        for item in value if isinstance(value, list) else [value]:
            _check_value(item, column, where)
    return found


def top_level(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return which columns of a table hold `columns`: each itself, or the mapping that it stands in."""
    return list(dict.fromkeys(column if column in names else column.partition(".")[0] for column in columns))


def _value(row: Mapping[str, Any], column: str) -> Any:
    outer, dot, inner = column.partition(".")
    if column in row or not dot or not isinstance(row.get(outer), dict):
        return row.get(column)
    return _value(row[outer], inner)


def _check_value(value: Any, column: str, where: str) -> None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(f"{where}: column {column!r} is missing or null; every row needs it. Remove or fill such rows")
    if isinstance(value, (list, dict, bytes)):
        kind = type(value).__name__
        raise ValueError(
            f"{where}: column {column!r} holds a {kind}; text, a number, a truth value or a list of those is expected"
        )
    if isinstance(value, str) and not value.isascii() and _HALF_OF_A_PAIR.search(value):
        raise ValueError(f"{where}: column {column!r} holds half of a surrogate pair, which is no text. Repair the row")


def _open_json_lines(path: Path, where: str) -> Table:
    first = next(_json_objects(path, where), None)
    if first is None:
        raise ValueError(f"{where} is empty; one JSON object a line is expected")
    return Table(list(first[1]), lambda _: _json_objects(path, where), f"{where}, line")


def _json_objects(path: Path, where: str) -> Rows:
    """Yield the object of each line; blank lines hold no row."""
    for number, line in _lines(path, where):
        if line.strip():
            row = None
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"{where}, line {number} is no JSON object; one object a line is expected (JSONL)")
            yield number, row


def _open_csv(path: Path, where: str) -> Table:
    return _open_delimited(path, where, _comma_records, "a text with a comma, a quote or a line end stands in quotes")


def _open_tsv(path: Path, where: str) -> Table:
    return _open_delimited(path, where, _tab_records, "a text holds no tab, and quotes are text like any other")


def _open_delimited(path: Path, where: str, records: Callable[[Path, str], Records], rule: str) -> Table:
    header = next(records(path, where), None)
    if header is None:
        raise ValueError(f"{where} is empty; a header line with the columns' names is expected")
    names = header[1]

    def rows(_: Sequence[str] | None) -> Rows:
        lines = records(path, where)
        next(lines)
        for number, values in lines:
            if len(values) != len(names):
                raise ValueError(
                    f"{where}, line {number} has {len(values)} values, the header has {len(names)}: {rule}"
                )
            yield number, dict(zip(names, values, strict=True))

    return Table(
        names, rows, f"{where}, line", shows_names=all(re.fullmatch(r"[^\W\d][\w.\-]{0,63}", name) for name in names)
    )


def _comma_records(path: Path, where: str) -> Records:
    """Yield (number of its first line, values) of each record of a CSV file (RFC 4180); blank lines hold none."""
    reader = csv.reader((line for _, line in _lines(path, where)), strict=True)
    while True:
        number, values = reader.line_num + 1, None
        with suppress(csv.Error):
            values = next(reader, [])
        if values is None:
            limit = csv.field_size_limit()
            raise ValueError(
                f"{where}, line {number} is malformed: a quote is not closed or stands inside a text without being "
                f"doubled, or a text is longer than {limit} characters (JSONL has no such limit)"
            )
        if values:
            yield number, values
        elif reader.line_num < number:  # nothing was read: the end
            return


def _tab_records(path: Path, where: str) -> Records:
    """Yield (line number, values) of each line of a TSV file as GLUE writes it; blank lines hold none."""
    for number, line in _lines(path, where):
        if text := line.rstrip("\r\n"):
            yield number, text.split("\t")


def _lines(path: Path, where: str) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line with its end); only a line feed ends a line, not the other ends that Unicode knows."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = None
            with suppress(UnicodeDecodeError):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            if line is None:
                raise ValueError(f"{where}, line {number} is not UTF-8; save the file in that encoding")
            yield number, line


def _open_parquet(path: Path, where: str) -> Table:
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
            rows = None
            with suppress(pa.ArrowException, OSError, UnicodeDecodeError):
                batch = next(batches, None)
                if batch is None:
                    return
                rows = batch.to_pylist()
            if rows is None:
                raise ValueError(f"{where} is damaged, or holds text that is not UTF-8, after row {number}")
            for row in rows:
                number += 1
                yield number, row

    return Table(file.schema_arrow.names, records, f"{where}, row")


_OPENERS: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": _open_json_lines,
    ".json": _open_json_lines,
    ".csv": _open_csv,
    ".tsv": _open_tsv,
    ".parquet": _open_parquet,
}
