"""The columns of a source, and what an error may say of them.

The first line of a file without a header is a private row, and the keys of a JSON object may be a list of persons. An
error shows names only of a header that is known as one: Parquet and the hub have a schema, and any other source shares
a column with the task. Of these it shows few, and only words that look like a column's name.
"""

import difflib
import re
from collections.abc import Sequence

from trainers.data.table import Table, top_level

COLUMN_NAME = re.compile(r"[^\W\d][\w .-]{0,29}")
_NAMES_SHOWN = 8


def check_columns(table: Table, columns: Sequence[str], name: str, field: str) -> None:
    """Check that a source has these columns, each once.

    Args:
        name, field: of the source, and its place in the configuration; for errors.

    Raises:
        ValueError: a column is missing or there twice. It shows no content of a row.
    """
    missing = [column for column in top_level(columns, table.names) if column not in table.names]
    if missing:
        raise ValueError(f"{field}: column {missing[0]!r} is not in {name}{_instead(table, columns, missing[0])}")
    twice = [column for column in columns if table.names.count(column) > 1]
    if twice:
        raise ValueError(f"{field}: {name} has more than one column {twice[0]!r}; rename one of them")


def nearest(word: str, known: Sequence[str]) -> str:
    """Return ' Did you mean …?' with the most similar known word, or an empty text."""
    lowered = {other.lower(): other for other in known}
    close = difflib.get_close_matches(word.lower(), lowered, n=1)
    return f" Did you mean {lowered[close[0]]!r}?" if close else ""


def _instead(table: Table, columns: Sequence[str], missing: str) -> str:
    """Return the end of the sentence: what the source has instead of the missing column."""
    if table.oddity:
        return f": {table.oddity}"
    wanted = {column.lower() for column in top_level(columns, table.names)}
    if not table.has_schema and wanted.isdisjoint(name.lower() for name in table.names):
        num = len(table.names)
        return (
            f", which has {num} {'column' if num == 1 else 'columns'} and none of the task's. Their names are not "
            "shown: they may be a row. Is the first line a header? Compare it with task.template and task.label_column"
        )
    names = [name for name in table.names if COLUMN_NAME.fullmatch(name)]
    more = len(table.names) - len(names[:_NAMES_SHOWN])
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN]) + (f" and {more} more" if more else "")
    return f", which has {shown.removeprefix(' and ')}.{nearest(missing, names)}"
