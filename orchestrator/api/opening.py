"""Opens the folder of a run or sweep that was started before."""

from pathlib import Path

from orchestrator.config.errors import ConfigError
from orchestrator.config.version import __version__
from orchestrator.storage.existing import Existing, find_existing


def opened(folder: str | Path) -> Existing:
    """Return the run or sweep in a folder, or of a name in the default storage folder.

    Raises:
        ValueError: there is none.
        ConfigError: this version does not know its settings.
    """
    try:
        return find_existing(folder)
    except ConfigError as error:
        raise ConfigError(
            f"{folder}: dpzo {__version__} cannot read its settings: {error.lines[0]} Another version wrote them: open "
            "the folder with that one; its privacy statement names it."
        ) from None
