"""What is shown while a sweep or run works: in a terminal, in a notebook, in the log of a job, or nothing."""

import sys
from typing import Literal

from orchestrator.api.views.console import progress_console
from orchestrator.api.views.lines import Lines
from orchestrator.api.views.live import LiveView
from orchestrator.api.views.notebook import NotebookTable
from orchestrator.sweep.monitor import SILENT, Monitor

Progress = Literal["auto", "bar", "table", "lines"] | bool
KINDS = ("auto", "bar", "table", "lines")


def progress_monitor(kind: Progress = "auto") -> Monitor:
    """Return what shows the progress.

    Args:
        kind: `bar` for a terminal, `table` for a notebook, `lines` elsewhere; `auto` (or True) finds out; False for
            nothing.

    Raises:
        ValueError: it is none of these.
    """
    if kind is False:
        return SILENT
    console = progress_console()
    if kind == "auto" or kind is True:
        kind = "table" if _in_a_notebook() else "bar" if console.is_terminal else "lines"
    if kind not in KINDS:
        raise ValueError(f"progress: expected {', '.join(KINDS)} or False, got {kind!r}")
    return NotebookTable() if kind == "table" else LiveView(console) if kind == "bar" else Lines(console)


def _in_a_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; nothing is imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")
