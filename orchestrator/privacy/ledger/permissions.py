"""Files and folders for their owner alone: the ledger with its key, and what a run does not release."""

import logging
from pathlib import Path

LOGGER = logging.getLogger(__name__)


def keep_to_owner(*paths: Path) -> None:
    """Take the rights on files, and on folders with all in them, from everybody else; warn where there were any.

    A path that does not exist is left out.
    """
    for path in paths:
        try:
            mode = path.stat().st_mode
            if mode & 0o077 == 0:
                continue
            for inner in path.rglob("*") if path.is_dir() else ():
                if not inner.is_symlink():
                    inner.chmod(inner.stat().st_mode & 0o700)
            path.chmod(mode & 0o700)
        except FileNotFoundError:
            continue
        except PermissionError:
            LOGGER.warning("%s is open to other users of this machine, and belongs to one of them: chmod go= it.", path)
        else:
            LOGGER.warning("%s was open to other users of this machine: now it is its owner's alone.", path)
