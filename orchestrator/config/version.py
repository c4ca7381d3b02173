"""The version of dpzo, and those of the libraries it uses; a checkout needs no installation to know its own."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__version__ = "0.1.0"  # pyproject.toml reads it here


@cache
def version_of(name: str) -> str:
    """Return the version of dpzo or of an installed distribution; "unknown" where it was not installed as one."""
    if name == "dpzo":
        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


@cache
def code_digest() -> str:
    """Return a digest of dpzo's own modules: two checkouts of one version may differ."""
    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for package in ("orchestrator", "search_spaces", "trainers"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
