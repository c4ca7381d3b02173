"""How results are printed. Control characters of a row, a file or a message never reach the terminal as such."""

import codecs
import io
import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from rich.console import RenderableType

from orchestrator.api.views.console import CONTROLS, SafeConsole

_ESCAPES = {code: f"\\u{code:04x}" for code in CONTROLS if chr(code) not in "\t\n"}


_PLAIN = {"ε": "epsilon", "δ": "delta", "σ": "sigma", "λ": "lambda", "η": "eta", "∞": "inf", "×": "x", "·": "-"}
_PLAIN |= {"≥": ">=", "≤": "<=", "≈": "~", "…": "...", "–": "-", "—": "-", "−": "-", "→": "->", "√": "sqrt"}


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


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
