"""The version of dpzo, and those of the libraries it uses; a checkout needs no installation to know its own."""

from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"  # pyproject.toml reads it here


def version_of(name: str) -> str:
    """Return the version of dpzo or of an installed distribution; "unknown" where it was not installed as one."""
    if name == "dpzo":
        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
