"""What `dpzo init` sees of a data file: its columns, and which of them look like text and label.

The counts are of private rows: they go to the operator's terminal and nowhere else. The values of a label column do go
into the configuration, which is public. So a value that only a few rows have is never taken from the data.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.data.columns import COLUMN_NAME
from trainers.data.sources import stream_records
from trainers.tasks.templates import text_of

MOST_LABELS = 20
LEAST_ROWS_OF_A_LABEL = 10
_LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "sentiment",
    "target",
    "y",
    "rating",
    "stars",
    "topic",
    "intent",
)


@dataclass(frozen=True)
class Column:
    """One column: its mean length in characters and words, and the count of each value; None where values are many."""

    name: str
    characters: float
    words: float
    counts: dict[str, int] | None

    @property
    def may_be_label(self) -> bool:
        return self.counts is not None and 2 <= len(self.counts) <= MOST_LABELS


@dataclass(frozen=True)
class Survey:
    """The columns of a source and its number of rows."""

    columns: tuple[Column, ...]
    num_rows: int

    def column(self, name: str, flag: str) -> Column:
        """Return a column by name; ValueError, naming the flag, if there is none."""
        found = {column.name: column for column in self.columns}
        if name not in found:
            raise ValueError(f"{flag} {name}: there is no such column among the file's {len(found)}")
        return found[name]

    def label(self) -> Column:
        """Return the column that looks like the label; ValueError if none does."""
        if len(self.columns) < 2:
            raise ValueError(
                "the file has one column; a text, and a label or a text to generate, are needed beside each other. Add "
                "a column"
            )
        able = [column for column in self.columns if column.may_be_label]
        if not able:
            raise ValueError(
                f"no column of {len(self.columns)} has 2 to {MOST_LABELS} different values, as a label has. Name the "
                "label by --label COLUMN, or the text to generate by --target COLUMN"
            )
        return min(able, key=lambda column: (_rank(column.name), len(column.counts or ()), column.characters))

    def texts(self, other: str) -> list[str]:
        """Return the names of the columns that look like text, beside `other`; the longest one if none does."""
        rest = [column for column in self.columns if column.name != other]
        if not rest:
            raise ValueError("the file has one column; a prompt needs another one, with a text. Add it")
        texts = [column.name for column in rest if column.words >= 3]
        return texts or [max(rest, key=lambda column: column.characters).name]


def survey(source: str) -> Survey:
    """Read a source once; ValueError if it cannot be read, or holds no rows."""
    names, values = _read(stream_records(source))
    return Survey(tuple(_column(name, values[name]) for name in names), max(map(len, values.values())))


def require_header(columns: Iterable[Column]) -> None:
    """Refuse, with a ValueError that quotes nothing, names that may be a private row: the file may have no header."""
    if any(not COLUMN_NAME.fullmatch(column.name) or column.name in (column.counts or ()) for column in columns):
        raise ValueError(
            "the names of the columns do not look like names: is the first line a row? Put a header line first, such "
            "as text,label"
        )


def public_labels(column: Column) -> list[str]:
    """Return the values of a label column, sorted; ValueError if they are too many, or one is rare."""
    if not column.may_be_label:
        raise ValueError(f"--label: the column does not have 2 to {MOST_LABELS} different values, as a label has")
    counts = column.counts or {}
    if min(counts.values()) < LEAST_ROWS_OF_A_LABEL:
        raise ValueError(
            f"the label column: some value stands in fewer than {LEAST_ROWS_OF_A_LABEL} rows. The configuration is "
            "public, and would tell that it occurs. Give the labels that are public knowledge: --labels no,yes"
        )
    return sorted(counts)


def _read(records: Iterable[dict[str, Any]]) -> tuple[list[str], dict[str, list[str]]]:
    values: dict[str, list[str]] = {}
    for row in records:
        for name, value in row.items():
            if isinstance(value, str | int | float | bool):
                values.setdefault(name, []).append(text_of({name: value}, name, "the data"))
    if not values:
        raise ValueError("the data hold no rows with texts or numbers")
    return list(values), values


def _column(name: str, values: Sequence[str]) -> Column:
    counts = Counter(values)
    few = len(counts) <= max(MOST_LABELS, len(values) // 100)
    return Column(
        name,
        characters=statistics.fmean(map(len, values)),
        words=statistics.fmean(len(value.split()) for value in values),
        counts=dict(counts) if few else None,
    )


def _rank(name: str) -> int:
    return _LABEL_NAMES.index(name.lower()) if name.lower() in _LABEL_NAMES else len(_LABEL_NAMES)
