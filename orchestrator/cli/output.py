"""What all verbs share: how results are printed, and how errors become one line and an exit code."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console, RenderableType

from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError, LedgerUnreachable
from trainers.mechanism.release_log import Stopped

STOPPED, BAD_CONFIGURATION, BUDGET_REFUSED = 1, 2, 3
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


OutputFormat = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an error that the user can fix into one line and an exit code; any other error stays a traceback."""
    try:
        yield
    except BudgetExceeded as refusal:
        _fail(f"Budget refused: {refusal}", BUDGET_REFUSED)
    except (LedgerCorruptError, LedgerUnreachable) as refusal:
        _fail(f"Ledger refused: {refusal}", BUDGET_REFUSED)
    except Stopped as stop:
        _fail(f"Stopped: {stop}", STOPPED)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        what = error.filename or "the storage"
        advice = "Make room, and start the same command again."
        _fail(f"Stopped: {what} cannot be written: {error.strerror}. {advice}", STOPPED)
    except ValueError as error:
        _fail(f"Error: {error}", BAD_CONFIGURATION)


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


def _fail(message: str, code: int) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(message)
    raise typer.Exit(code) from None
