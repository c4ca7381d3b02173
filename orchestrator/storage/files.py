"""Text files that a kill never leaves in part, and JSON files that may not be what they were."""

import json
import os
from pathlib import Path
from typing import Any

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


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that dpzo wrote into a file; ValueError where the file holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not as dpzo wrote it: expected a JSON object. Put a copy of the file back.")
    return found
