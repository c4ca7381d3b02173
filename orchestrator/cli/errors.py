"""How every error of a verb becomes one line and an exit code; an unexpected one gets an id, and its traceback a file.

A message of a library may quote a private row. So the line shows only messages of this project, and the traceback,
which is for the operator alone, holds no other message and no value of a variable. `--debug` prints them all.
"""

import errno
import os
import secrets
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from orchestrator.api.views.console import SafeConsole
from orchestrator.cli.interruption import current_storage
from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError, LedgerUnreachable
from trainers.errors import has_own_message
from trainers.mechanism.release_log import Stopped

STOPPED, BAD_CONFIGURATION, BUDGET_REFUSED = 1, 2, 3
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
MAKE_ROOM = "Make room, and start the same command again."
LONGEST_NAME = 300
OF_PATHLIB = ("Could not determine home directory", "Symlink loop")  # `~nosuchuser`, and a link to itself

_debug = False


def show_tracebacks(debug: bool) -> None:
    """Choose whether the traceback of an error is printed too: `dpzo --debug`."""
    global _debug
    _debug = debug


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an error into one line and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):  # the last: whoever read the output has enough
        raise
    except Exception as error:  # noqa: BLE001 - the one place where all errors end
        message, code = _line_of(error)
        if _debug:
            message = "".join(traceback.format_exception(error)) + message
        SafeConsole(stderr=True, soft_wrap=True, highlight=False, markup=False).print(message)
        raise typer.Exit(code) from None


def _line_of(error: Exception) -> tuple[str, int]:
    """Return what the terminal shows of an error, and the exit code."""
    full = next((os.strerror(number) for number in DISK_ERRORS if os.strerror(number) in str(error)), None)
    match error:
        case BudgetExceeded():
            return f"Budget refused: {error}", BUDGET_REFUSED
        case LedgerCorruptError() | LedgerUnreachable():
            return f"Ledger refused: {error}", BUDGET_REFUSED
        case Stopped():
            return f"Stopped: {error}", STOPPED
        case OSError(filename=str(name), strerror=str(reason), errno=number) if number not in DISK_ERRORS:
            return f"Error: {name[:LONGEST_NAME]}: {reason}", BAD_CONFIGURATION
        case RuntimeError() if str(error).startswith(OF_PATHLIB):
            return f"Error: a path that leads nowhere: {error}", BAD_CONFIGURATION
        case ValueError() if str(error).startswith("embedded null "):  # of Python, where it opens a file
            return "Error: a path holds a NUL character", BAD_CONFIGURATION
        case UnicodeError():
            return "Error: a file is no text in UTF-8", BAD_CONFIGURATION
        case RecursionError():
            return "Error: a file is nested too deeply to be read", BAD_CONFIGURATION
        case ValueError() if has_own_message(error):
            return f"Error: {error}", BAD_CONFIGURATION
        case _ if full is not None:  # libraries raise it as errors of their own
            place = getattr(error, "filename", None) or "the storage"
            return f"Stopped: {place} cannot be written: {full}. {MAKE_ROOM}", STOPPED
        case _:
            return _unexpected(error), STOPPED


def _unexpected(error: Exception) -> str:
    """Write the traceback where only the operator reads it, and return the line that names it."""
    number, last = secrets.token_hex(4), traceback.extract_tb(error.__traceback__)[-1]
    said = f"Unexpected error {number}: {type(error).__name__} in {Path(last.filename).name}:{last.lineno}."
    storage = current_storage()
    for folder in ([storage.operator_folder] if storage else []) + [Path(tempfile.gettempdir())]:
        path = folder / f"error-{number}.txt"
        with suppress(OSError), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(_traceback_of(error))
            return f"{said} Its traceback is in {path}, for you alone; `dpzo --debug …` prints it with its message."
    return f"{said} `dpzo --debug …` prints its traceback."


def _traceback_of(error: BaseException) -> str:
    """Return the traceback of an error and of its causes, without the messages of libraries."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [] if cause is None else [_traceback_of(cause), "\nand then\n\n"]
    message = f": {error}" if has_own_message(error) else ""
    return "".join([*before, *traceback.format_tb(error.__traceback__), type(error).__qualname__, message, "\n"])
