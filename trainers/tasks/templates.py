"""Templates with columns in braces, to be filled with the texts of a row.

A column is replaced by its text: a template cannot ask for an attribute, an index or a format of a value. Errors name
the number of the row and the column, never the value.

One of these changes may follow a column; the papers' prompts need them:

| written                | gives                                                                                      |
|------------------------|--------------------------------------------------------------------------------------------|
| `{sentence|stripped}`  | the text without blanks around it                                                          |
| `{premise|open}`       | the text without the blanks and the one punctuation mark at its end                        |
| `{hypothesis|lower}`   | its first letter small                                                                     |
| `{question|ask}`       | its first letter large, and one question mark at its end                                   |
| `{question|connective}`| 'because' for a question after the 'cause', 'so' for one after the 'effect' (COPA)         |
| `{passage|highlights}` | its '@highlight' lines as a list of dashes (ReCoRD)                                        |
| `{answers.text|first}` | the first item of a list; a score compares with every item                                 |
| `{choices|each}`       | in `options`: one option for each item of a list                                           |
| `{query|cloze:names}`  | in `options`: one option for each item of `names`, put where the text has '@placeholder'   |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MASK = "[MASK]"  # in a template: the place where a masked model predicts, in place of its tokenizer's mask token
CLOSING_MARKS = ".,;:!?"
CONNECTIVES = {"cause": "because", "effect": "so"}
_LISTED = ("first", "each", "cloze")
_BRACES = re.compile(r"\{\{|\}\}|\{(?P<slot>[^{}]*)\}|[{}]")
_FORMAT = re.compile(  # of Python's format strings
    r"(?P<column>[^!:]+)(?=[!:])(![rsa])?(:(.?[<>=^])?[+-]?z?#?0?\d*[_,]?(\.\d+)?[bcdeEfFgGnosxX%]?)?"
)
_LONGEST = 1_000_000  # characters: a tokenizer needs 300 bytes for each


@dataclass(frozen=True)
class Slot:
    """A column in a template, the change to its text, and for 'cloze' the column of the items to insert."""

    column: str
    change: str | None = None
    items: str | None = None

    @property
    def list_column(self) -> str | None:
        """The column whose items fill the template one at a time, if there is one."""
        return (self.items or self.column) if self.change in _LISTED else None

    def text(self, row: Mapping[str, Any], where: str, item: str | None) -> str:
        """Return the column's text in a row; of a list use `item`, or its first item if that is None."""
        if self.list_column is not None and item is None:
            item = items_of(row, self.list_column, where)[0]
        if self.change == "cloze":
            return text_of(row, self.column, where).replace("@placeholder", item or "")
        if item is not None and self.list_column is not None:
            return item
        text = text_of(row, self.column, where)
        if self.change is None:
            return text
        try:
            return CHANGES[self.change](text)
        except KeyError:
            allowed = ", ".join(CONNECTIVES)
            raise ValueError(f"{where}: column {self.column!r} is none of {allowed}, as 'connective' needs") from None


@dataclass(frozen=True)
class Template:
    """A parsed text with columns in braces.

    Args:
        field: its place in the configuration, for errors: 'task.template'.
        parts: (literal text, column that follows it) in order; the last column is None if the template ends in text.
    """

    field: str
    parts: tuple[tuple[str, Slot | None], ...]

    @classmethod
    def parse(cls, text: str, field: str) -> Template:
        """Parse a template; ValueError for unpaired braces, an unnamed or no column, an unknown change, a format."""
        template = cls(field, tuple(_parts(text, field)))
        if not template.columns:
            raise ValueError(f"{field} names no column, so every row would read the same; write one as {{column}}")
        if len(template.list_columns) > 1:
            raise ValueError(f"{field} goes through more than one list ({', '.join(template.list_columns)}); use one")
        return template

    @property
    def columns(self) -> list[str]:
        named = [name for _, slot in self.parts if slot for name in (slot.column, slot.items) if name]
        return list(dict.fromkeys(named))

    @property
    def list_columns(self) -> list[str]:
        return list(dict.fromkeys(slot.list_column for _, slot in self.parts if slot and slot.list_column))

    @property
    def makes_option_per_item(self) -> bool:
        return any(slot is not None and slot.change in ("each", "cloze") for _, slot in self.parts)

    def fill(self, row: Mapping[str, Any], where: str, item: str | None = None) -> str:
        """Return the text filled from a row; `where` names the row in errors; of a list use `item`.

        ValueError if a column is missing, or the text is longer than 1,000,000 characters.
        """
        text = "".join(literal + (slot.text(row, where, item) if slot else "") for literal, slot in self.parts)
        if len(text) > _LONGEST:
            raise ValueError(f"{where}: the text of {self.field} is longer than {_LONGEST:,} characters; cut such rows")
        return text

    def fill_each(self, row: Mapping[str, Any], where: str) -> dict[str, str]:
        """Return item → text with that item, for the items of the template's list; equal items once."""
        if not self.list_columns:
            return {"": self.fill(row, where)}
        return {item: self.fill(row, where, item) for item in items_of(row, self.list_columns[0], where)}


def text_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """Return a column as text (a truth value: 'true' or 'false'); ValueError if it is missing, null or a list."""
    value = row.get(column)
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError(f"{where}: column {column!r} is missing or null; remove or fill such rows")
    if isinstance(value, list):
        raise ValueError(
            f"{where}: column {column!r} holds a list; write {{{column}|first}}, or in options {{{column}|each}}"
        )
    return str(value).lower() if isinstance(value, bool) else str(value)


def items_of(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    """Return the items of a column as texts (no list: one item); ValueError if it is missing, null or an empty list."""
    value = row.get(column)
    if not isinstance(value, list):
        return [text_of(row, column, where)]
    if not value:
        raise ValueError(f"{where}: column {column!r} holds an empty list; remove or fill such rows")
    return [text_of({column: item}, column, where) for item in value]


def without_closing_mark(text: str) -> str:
    """Return a text without the blanks and the one punctuation mark at its end."""
    text = text.rstrip()
    return text[:-1].rstrip() if text and text[-1] in CLOSING_MARKS else text


CHANGES: dict[str, Callable[[str], str]] = {
    "stripped": str.strip,
    "open": without_closing_mark,
    "lower": lambda text: text[:1].lower() + text[1:],
    "ask": lambda text: text[:1].upper() + without_closing_mark(text[1:]) + "?",
    "connective": lambda text: CONNECTIVES[text],
    "highlights": lambda text: text.replace("@highlight\n", "- "),
}


def _parts(text: str, field: str) -> Iterator[tuple[str, Slot | None]]:
    """Yield the parts of a template; ValueError for a brace alone, an unnamed column, an unknown change, a format."""
    literal, end = "", 0
    for found in _BRACES.finditer(text):
        literal, end = literal + text[end : found.start()], found.end()
        if found["slot"] is not None:
            yield literal, _slot(field, found["slot"])
            literal = ""
        elif len(found[0]) == 2:
            literal += found[0][0]
        else:
            raise ValueError(f"{field}: a brace stands alone. Columns stand in braces; write a literal brace twice")
    if literal + text[end:]:
        yield literal + text[end:], None


def _slot(field: str, written: str) -> Slot:
    """Return the column between two braces. Its name may hold any mark but these: a bar begins a change."""
    if not written:
        raise ValueError(f"{field}: '{{}}' names no column; write the column between the braces")
    column, bar, change = written.partition("|")
    change, colon, items = change.partition(":")
    formatted = None if bar else _FORMAT.fullmatch(written)
    if formatted or (colon and change != "cloze"):
        used = formatted["column"] if formatted else f"{column}|{change}"
        raise ValueError(
            f"{field}: {{{written}}} asks for a format; a column's text is used as it is: {{{used}}}. A column of such "
            "a name has to be renamed"
        )
    if bar and change not in (*CHANGES, *_LISTED):
        raise ValueError(
            f"{field}: {{{written}}} asks for a change {change!r}; there are {', '.join([*CHANGES, *_LISTED])}"
        )
    if change == "cloze" and not items:
        raise ValueError(f"{field}: {{{written}}} needs the column of what to put in: {{{written}:column}}")
    return Slot(column, change or None, items or None)
