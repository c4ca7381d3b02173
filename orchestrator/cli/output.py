"""How results are printed. Control characters of a row, a file or a message never reach the terminal as such."""

import codecs
import io
import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # C0, C1, bidirectional
_CONTROLS += range(0xD800, 0xE000)  # surrogates: the bytes of a file's name that are no UTF-8
_SYMBOLS = {code: chr(0x2400 + code) if code < 0x20 else "\ufffd" for code in _CONTROLS if chr(code) not in "\t\n"}
_ESCAPES = {code: f"\\u{code:04x}" for code in _CONTROLS if chr(code) not in "\t\n"}


_PLAIN = {"ε": "epsilon", "δ": "delta", "σ": "sigma", "λ": "lambda", "η": "eta", "∞": "inf", "×": "x", "·": "-"}
_PLAIN |= {"≥": ">=", "≤": "<=", "≈": "~", "…": "...", "–": "-", "—": "-", "−": "-", "→": "->", "√": "sqrt"}


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


class SafeConsole(Console):
    """A console that shows a symbol for each control character of a text: ␛ for an escape.

    Formal guarantees:
        The terminal gets no control character but tab, line feed and those of Rich's own styles and cursor moves.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render with symbols: in a text before it is laid out, and in whatever else comes out."""
        if isinstance(renderable, str):
            renderable = renderable.translate(_SYMBOLS)
        elif isinstance(renderable, Text):
            renderable = renderable.copy()
            renderable.plain = renderable.plain.translate(_SYMBOLS)  # as long as before: styles keep their places
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=segment.text.translate(_SYMBOLS))


OutputFormat = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]


def encode_all_output() -> None:
    """Let standard output and error show every text, whatever their encoding: ε becomes 'epsilon' where it has none."""
    codecs.register_error("dpzo", _in_plain_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="dpzo")


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(mark, "?") for mark in error.object[error.start : error.end]), error.end


def print_result(output: Format, value: Any, view: RenderableType) -> None:
    """Print a result on standard output, which holds nothing else: the value as JSON, or its view."""
    if output is Format.JSON:
        sys.stdout.write(as_json(value))
    else:
        print_text(view)


def print_text(view: RenderableType) -> None:
    """Print a view on standard output."""
    SafeConsole().print(view)


def as_json(value: Any) -> str:
    """Return a value as JSON; an infinite ε, or a score that is no number, is null. Control characters are escaped."""
    try:
        text = to_json(value, indent=2, inf_nan_mode="null").decode()
    except PydanticSerializationError:  # the name of a file that is no UTF-8
        text = json.dumps(to_jsonable_python(value, inf_nan_mode="null"), indent=2)
    return text.translate(_ESCAPES) + "\n"


def progress_console() -> Console:
    """Return a console on the error stream, for everything but the result."""
    return SafeConsole(stderr=True)
