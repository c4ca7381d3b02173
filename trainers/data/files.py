"""Local files of rows: JSONL, CSV, TSV and Parquet, read in place.

The `datasets` library is not used: it would copy the private rows into a cache folder that outlives the run, and that
nobody protects or deletes.

Errors name the number of a line or row and a column, never a value: errors end up in terminals, logs and tickets.
Parsers quote their input in their exceptions, so ours keep none of those, not even as their context.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

Records = Iterator[tuple[int, list[str]]]
Rows = Iterator[tuple[int, dict[str, Any]]]

_HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")  # a lone \ud83d in JSON: not valid text, and no tokenizer accepts it
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Table:
    """An opened source.

    Args:
        names: of the columns.
        records: columns (None: all) → iterator over (line or row number, unchecked row).
        where: beginning of every error about a row.
        shows_names: whether errors may show `names`. If a CSV file has no header, its first line is a private row.
    """

    names: list[str]
    records: Callable[[Sequence[str] | None], Rows]
    where: str
    shows_names: bool = True


def open_table(path: Path, where: str) -> Table:
    """Open a file by its suffix; ValueError, beginning with `where`, for an unknown suffix or a malformed file."""
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise ValueError(f"{where} ends in {path.suffix!r}; expected one of {', '.join(_OPENERS)}")
    return opener(path, where)


def checked_row(row: Mapping[str, Any], columns: Sequence[str], where: str) -> dict[str, Any]:
    """Return the row's `columns`; 'answers.text' is the column of that name, or else 'text' in the mapping 'answers'.

    ValueError if a column is missing or null, or is no valid text, number, truth value or list of those.
    """
    values = {column: _value(row, column) for column in columns}
    for column, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            _check_value(item, column, where)
    return values


def top_level(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the table's columns that hold `columns`: each column itself, or the mapping that contains it."""
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
        raise ValueError(
            f"{where}: column {column!r} holds half of a surrogate pair, which is not valid text. Fix the row"
        )


def _open_json_lines(path: Path, where: str) -> Table:
    first = next(_json_objects(path, where), None)
    if first is None:
        raise ValueError(f"{where} is empty; one JSON object a line is expected")
    return Table(list(first[1]), lambda _: _json_objects(path, where), f"{where}, line")


def _json_objects(path: Path, where: str) -> Rows:
    """Yield the object of each line; skip blank lines."""
    for number, line in _lines(path, where):
        if line.strip():
            row = None
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"{where}, line {number} is no JSON object; one object a line is expected (JSONL)")
            yield number, row


def _open_delimited(path: Path, where: str, *, records: Callable[[Path, str], Records], rule: str) -> Table:
    header = next(records(path, where), None)
    if header is None:
        raise ValueError(f"{where} is empty; a header line with the names of the columns is expected")
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
    """Yield (number of the first line, values) of each record of a CSV file (RFC 4180); skip blank lines."""
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
        elif reader.line_num < number:  # no line was read: the end of the file
            return


def _tab_records(path: Path, where: str) -> Records:
    """Yield (line number, values) of each line of a TSV file as GLUE writes it; skip blank lines."""
    for number, line in _lines(path, where):
        if text := line.rstrip("\r\n"):
            yield number, text.split("\t")


def _lines(path: Path, where: str) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line with its end); only a line feed ends a line, not Unicode's other separators."""
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
    ".csv": partial(
        _open_delimited, records=_comma_records, rule="a text with a comma, a quote or a line end stands in quotes"
    ),
    ".tsv": partial(
        _open_delimited, records=_tab_records, rule="a text holds no tab, and quotes are text like any other"
    ),
    ".parquet": _open_parquet,
}
