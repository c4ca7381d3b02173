"""The root of the exceptions that this project defines, and whose message an error has.

It imports nothing of the project, so that every package may import it.
"""

from opcode import opmap

_PACKAGES = ("orchestrator", "search_spaces", "trainers")


class DpzoError(Exception):
    """Any refusal or failure that this project names; `from orchestrator import DpzoError` and catch this one.

    Wrong arguments of a function are plain `ValueError`s and `TypeError`s, which are not below it.
    """


class EngineLost(DpzoError, ConnectionError):
    """The process of a shared engine has ended. All releases are in the log: a run that starts again goes on."""


def has_own_message(error: BaseException) -> bool:
    """Return whether a `raise` statement of this project made an error: a library's message may quote a private row.

    An error that another process sent has no trace of its origin; there `note_origin` has to note it first.
    """
    noted = getattr(error, "dpzo_wrote_it", None)
    if noted is not None or isinstance(error, DpzoError):
        return noted is not False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _PACKAGES:
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]


def note_origin(error: Exception, origin: Exception | None = None) -> None:
    """Note in an error, before it leaves its process, whether its message is this project's.

    `origin` is the error whose message it repeats; when None the error itself.
    """
    error.dpzo_wrote_it = has_own_message(origin or error)  # pyright: ignore[reportAttributeAccessIssue]
