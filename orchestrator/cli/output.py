"""What all verbs of the command line share: the form of their results, their exit codes, and errors in one line."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError, LedgerUnreachable
from trainers.mechanism.release_log import Stopped

if TYPE_CHECKING:
    from rich.console import RenderableType

STOPPED, BAD_CONFIGURATION, BUDGET_REFUSED = 1, 2, 3
FULL_OR_BROKEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


OutputFormat = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can mend into one clear message and an exit code; anything else stays a traceback."""
    try:
        yield
    except BudgetExceeded as refusal:
        _say(f"Budget refused: {refusal}")
        raise typer.Exit(BUDGET_REFUSED) from None
    except (LedgerCorruptError, LedgerUnreachable) as refusal:
        _say(f"Ledger refused: {refusal}")
        raise typer.Exit(BUDGET_REFUSED) from None
    except Stopped as word:
        _say(f"Stopped: {word}")
        raise typer.Exit(STOPPED) from None
    except OSError as error:
        if error.errno not in FULL_OR_BROKEN:
            raise
        what = error.filename or "the storage"
        _say(f"Stopped: {what} cannot be written: {error.strerror}. Make room, and start the same command again.")
        raise typer.Exit(STOPPED) from None
    except ValueError as error:
        _say(f"Error: {error}")
        raise typer.Exit(BAD_CONFIGURATION) from None


def print_result(output: Format, as_json: Callable[[], str], as_text: Callable[[int], RenderableType]) -> None:
    """Print a result on standard output, which holds nothing else."""
    if output is Format.JSON:
        sys.stdout.write(as_json())
    else:
        console = Console()
        console.print(as_text(console.width))


def progress_console() -> Console:
    """Return the error stream, for what is no result."""
    return Console(stderr=True)


def _say(message: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(message)
