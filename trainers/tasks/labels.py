"""How a value of the label column is compared with the labels of a task.

They are compared as texts. Where none is equal, the spellings of one truth value or of one whole number are the same:
'True' and 'true', '1.0' and '1'. Spreadsheets and data frames write them so.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trainers.tasks.templates import text_of

_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0*")


class Labels:
    """The labels of a task, found again by the text of a value."""

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = {name: number for number, name in enumerate(names)}
        spellings = Counter(_plain(name) for name in self._exact)
        self._plain = {_plain(name): number for name, number in self._exact.items() if spellings[_plain(name)] == 1}

    def number_of(self, text: str) -> int | None:
        """Return the number of a label from 0, or None; of equal names the last one's."""
        exact = self._exact.get(text)
        return self._plain.get(_plain(text)) if exact is None else exact


def label_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """Return the text of a row's label, which may be the only item of a list.

    ValueError if it is missing, null, or a list of none or several.
    """
    value = row.get(column)
    if not isinstance(value, list):
        return text_of(row, column, where)
    if len(value) != 1:
        raise ValueError(f"{where}: column {column!r} holds a list of labels; a row has one. Split or remove such rows")
    return text_of({column: value[0]}, column, where)


def label_text(value: Any) -> Any:
    """Return a configuration's label: a truth value is the text that rows are compared with, 'true' or 'false'."""
    return str(value).lower() if isinstance(value, bool) else value


def _plain(text: str) -> str:
    """Return one spelling of a truth value or a whole number, and any other text unchanged."""
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole else text
