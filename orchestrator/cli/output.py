"""How results are printed."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console, RenderableType


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


OutputFormat = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]


def print_result(output: Format, value: Any, view: RenderableType) -> None:
    """Print a result on standard output, which holds nothing else: the value as JSON, or its view."""
    if output is Format.JSON:
        sys.stdout.write(as_json(value))
    else:
        print_text(view)


def print_text(view: RenderableType) -> None:
    """Print a view on standard output."""
    Console().print(view)


def as_json(value: Any) -> str:
    """Return a value as JSON; an infinite ε, or a score that is no number, is null."""
    return to_json(value, indent=2, inf_nan_mode="null").decode() + "\n"


def progress_console() -> Console:
    """Return a console on the error stream, for everything but the result."""
    return Console(stderr=True)
