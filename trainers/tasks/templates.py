"""Templates with columns in braces, filled with the text of a row.

A column is replaced by its text and by nothing else: no attribute, no index, no format. So a template cannot reach into
a value, and the same words that `TaskConfig.columns` reads are the columns here. Errors name the row's number and the
column, never what stands there.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Template:
    """A text with columns in braces, taken apart once.

    Args:
        field: its place in the configuration, for errors: 'task.template'.
        parts: (literal text, column that follows it), in order; no column after the last one where text ends it.
    """

    field: str
    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str, field: str) -> Template:
        """Take a template apart.

        Raises:
            ValueError: unpaired braces, an unnamed column, a format or conversion, or no column at all.
        """
        try:
            pieces = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{field}: {error}. Columns stand in braces; write a brace itself twice") from None
        for _, column, spec, conversion in pieces:
            if column == "":
                raise ValueError(f"{field}: '{{}}' names no column; write the column between the braces")
            if spec or conversion:
                given = f"{column}" + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                raise ValueError(
                    f"{field}: {{{given}}} asks for a format; a column's text is used as it is: {{{column}}}"
                )
        if not any(column for _, column, _, _ in pieces):
            raise ValueError(f"{field} names no column, so every row would read the same; write one as {{column}}")
        return cls(field, tuple((literal, column) for literal, column, _, _ in pieces))

    @property
    def columns(self) -> list[str]:
        """The columns that it names, each once."""
        return list(dict.fromkeys(column for _, column in self.parts if column))

    def fill(self, row: Mapping[str, Any], where: str) -> str:
        """Return the text with the row's columns in it; `where` tells the row in errors."""
        return "".join(literal + (text_of(row, column, where) if column else "") for literal, column in self.parts)


def text_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """Return a column as text: a number as Python writes it, a truth value as 'true' or 'false'.

    Raises:
        ValueError: the row lacks the column, or holds nothing there.
    """
    value = row.get(column)
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError(f"{where}: column {column!r} is missing or null; remove or fill such rows")
    return str(value).lower() if isinstance(value, bool) else str(value)
