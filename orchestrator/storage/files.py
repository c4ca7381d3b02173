"""Text files that a kill never leaves in part."""

import os
from pathlib import Path

from trainers.mechanism.release_log import fsync_folder


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file, so that a kill leaves either the old one or the new one; its folder is created.

    A `durable` file is on the disk when this returns, and so survives a loss of power.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        fsync_folder(path.parent)
