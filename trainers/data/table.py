"""An opened source of rows, and the check of a row's values.

Errors name the number of a line or row and a column, never a value: errors end up in terminals, logs and tickets.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Iterator[tuple[int, dict[str, Any]]]

ROWS_AT_ONCE = 8192
MAX_DEPTH = 100  # lists and mappings inside each other; a row is hashed, and that is recursive
_HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")  # a lone \ud83d in JSON: not valid text, and no tokenizer accepts it


@dataclass(frozen=True)
class Table:
    """An opened source.

    Args:
        names: of the columns; in a file without a header, the values of its first row.
        records: columns (None: all) → iterator over (line or row number, unchecked row).
        where: beginning of every error about a row.
        has_schema: whether `names` are the names of columns for certain.
        oddity: what is wrong with the first line, if something is: shown where a column is missing.
    """

    names: list[str]
    records: Callable[[Sequence[str] | None], Rows]
    where: str
    has_schema: bool = False
    oddity: str = ""


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


def require_shallow(value: Any, where: str) -> None:
    """Refuse, with a ValueError, a value in which lists or mappings lie inside each other too deeply."""
    below = [value]
    for _ in range(MAX_DEPTH):
        inside = (one.values() if isinstance(one, dict) else one for one in below if isinstance(one, dict | list))
        below = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not below:
            return
    raise ValueError(f"{where}: more than {MAX_DEPTH} lists or mappings lie inside each other. Flatten or remove them")


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
