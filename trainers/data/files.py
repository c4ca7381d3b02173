"""Local files of rows, read in place: JSON, JSONL, CSV and TSV; Parquet in parquet.py.

The `datasets` library is not used: it would copy the private rows into a cache folder that outlives the run, and that
nobody protects or deletes.

Parsers quote their input in their exceptions, so ours keep none of those, not even as their context.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from trainers.data.parquet import open_parquet
from trainers.data.table import Rows, Table, require_shallow

Records = Iterator[tuple[int, list[str]]]

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def open_table(path: Path, where: str) -> Table:
    """Open a file by its suffix; ValueError, beginning with `where`, for an unknown suffix or a malformed file."""
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise ValueError(f"{where} ends in {path.suffix!r}; expected one of {', '.join(_OPENERS)}")
    return opener(path, where)


def _open_json(path: Path, where: str) -> Table:
    """Open a file that holds one JSON array of objects, or else one object a line."""
    with path.open("rb") as file:
        begins = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not begins.startswith(b"["):
        return _open_json_lines(path, where)
    first = next(_json_array(path, where), None)
    if first is None:
        raise ValueError(f"{where} is empty; a JSON array of objects is expected")
    return Table(list(first[1]), lambda _: _json_array(path, where), f"{where}, row")


def _json_array(path: Path, where: str) -> Rows:
    rows = None
    with suppress(ValueError, RecursionError):
        rows = json.loads(path.read_bytes().decode("utf-8-sig"))
    if not isinstance(rows, list):
        raise ValueError(
            f"{where} begins as a JSON array and is none, or is not UTF-8; an array of objects is expected"
        )
    for number, row in enumerate(rows, start=1):
        yield number, _json_object(row, f"{where}, row {number}", "a JSON array of objects is expected")


def _open_json_lines(path: Path, where: str) -> Table:
    first = next(_json_lines(path, where), None)
    if first is None:
        raise ValueError(f"{where} is empty; one JSON object a line is expected")
    return Table(list(first[1]), lambda _: _json_lines(path, where), f"{where}, line")


def _json_lines(path: Path, where: str) -> Rows:
    """Yield the object of each line; skip blank lines."""
    for number, line in _lines(path, where):
        if line.strip():
            row = None
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
            array = " or, in a file that ends in .json, one array" if isinstance(row, list) or line[0] == "[" else ""
            yield number, _json_object(row, f"{where}, line {number}", f"one object a line is expected (JSONL){array}")


def _json_object(row: Any, where: str, expected: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where} is no JSON object; {expected}")
    require_shallow(row, where)
    return row


def _open_delimited(
    path: Path, where: str, *, separator: str, records: Callable[[Path, str], Records], rule: str
) -> Table:
    header = next(records(path, where), None)
    if header is None:
        raise ValueError(f"{where} is empty; a header line with the names of the columns is expected")
    names = header[1]

    def rows(_: Sequence[str] | None) -> Rows:
        for number, values in islice(records(path, where), 1, None):
            if len(values) != len(names):
                raise ValueError(
                    f"{where}, line {number} has {len(values)} values, the header has {len(names)}: {rule}"
                )
            yield number, dict(zip(names, values, strict=True))

    return Table(names, rows, f"{where}, line", oddity=_oddity(names, separator))


def _oddity(names: Sequence[str], separator: str) -> str:
    """Say what separates the values of the first line, where it is not `separator`."""
    expected = _SEPARATORS[separator]
    if names[0].startswith("sep="):
        return f"its first line is no header but names a separator, as Excel does; save it with {expected}, without it"
    seen = [words for other, words in _SEPARATORS.items() if len(names) == 1 and other in names[0]]
    return f"its first line has {seen[0]} and no {expected}; save it with {expected}" if seen else ""


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
                kind = "UTF-16 and not UTF-8" if number == 1 and raw.startswith(_UTF_16) else "not UTF-8"
                raise ValueError(f"{where}, line {number} is {kind}; save the file in that encoding")
            if number == 1 and "\r" in line.rstrip("\r\n"):
                raise ValueError(f"{where}: a carriage return alone ends its lines; save it with line feeds (Unix)")
            yield number, line


_OPENERS: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": _open_json_lines,
    ".json": _open_json,
    ".csv": partial(
        _open_delimited,
        separator=",",
        records=_comma_records,
        rule="a text with a comma, a quote or a line end stands in quotes",
    ),
    ".tsv": partial(
        _open_delimited,
        separator="\t",
        records=_tab_records,
        rule="a text holds no tab, and quotes are text like any other",
    ),
    ".parquet": open_parquet,
}
