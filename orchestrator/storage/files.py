"""Files and folders that a kill never leaves in part, and JSON files that may not be what they were."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trainers.data.table import require_shallow
from trainers.mechanism.release_log import fsync_folder

_LEFTOVER = re.compile(  # an earlier version put the number of its process where the random digits are
    r"\.(.+\.)?[0-9a-f]{16}\.part|\..*\.?(json|jsonl|txt|identity)\.[0-9]+"
)


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file, so that a kill leaves either the old one or the new one; its folder is created.

    A `durable` file is on the disk when this returns, and so survives a loss of power.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")  # two hosts may share the folder
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def require_empty(to: Path) -> None:
    """Refuse, with a ValueError, a folder that holds files."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"--to {to}: the folder is not empty; name a new or empty folder")


@contextmanager
def whole_folder(to: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes the new or empty folder `to`; a failure leaves nothing of it.

    ValueError if `to` holds files.
    """
    require_empty(to)
    is_new = not to.exists()
    place = to.absolute().parent if is_new else to
    place.mkdir(parents=True, exist_ok=True)
    part = place / f".dpzo-{secrets.token_hex(8)}.part"
    part.mkdir()
    try:
        yield part
        sync_files(part)
        if is_new:
            part.replace(to)
        else:  # it may be a mount, which cannot be replaced
            for path in part.iterdir():
                path.replace(to / path.name)
        fsync_folder(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove what killed calls of `write_whole` left in these folders, which no other process may write to now."""
    for folder in folders:
        for path in folder.glob(".*"):
            if _LEFTOVER.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def sync_files(folder: Path) -> None:
    """Wait until a folder and all files below it are on the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(Path(place, name), "rb") as file:
                os.fsync(file.fileno())
        fsync_folder(Path(place))


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that dpzo wrote into a file; ValueError where the file holds something else."""
    found = None
    with suppress(ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8"))
        require_shallow(content, path.name)
        found = content
    if not isinstance(found, dict):
        raise changed(path, "expected a JSON object")
    return found


def changed(path: Path, expected: str) -> ValueError:
    """Return the error for a file that holds something else than dpzo wrote into it."""
    return ValueError(f"{path} is not as dpzo wrote it: {expected}. Put a copy of the file back.")
