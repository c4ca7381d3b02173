"""A terminal of 80 columns."""

import io

from rich.console import Console, RenderableType


def shown(renderable: RenderableType) -> str:
    """Return what it shows."""
    console = Console(file=io.StringIO(), width=80)
    console.print(renderable)
    return console.file.getvalue()
