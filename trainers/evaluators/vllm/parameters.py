"""θ of a model in a vLLM engine, as public values: every call goes to the workers, which hold the tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainers.directions import Direction, WeightedDirections


class VllmParameters:
    """θ as a `ParameterSpace`, with the tensors in the engine's workers.

    Args:
        rpc: calls a method of all workers.
    """

    def __init__(self, rpc: Callable[..., Any]) -> None:
        self._rpc = rpc

    @property
    def count(self) -> int:
        """Number of parameters that directions move, d: those of the mask where there is one."""
        return self._rpc("zo_call", "count")

    def inner_products(self, directions: Sequence[Direction]) -> np.ndarray:
        """Return 〈z_i, z_j〉 over the parameters that move, float64 [K, K], the same on every machine."""
        return self._rpc("zo_parameters", "inner_products", list(directions))

    def set_anchor(self) -> None:
        """Take the θ of now as the place that `pull` draws to."""
        self._rpc("zo_parameters", "set_anchor")

    def pull(self, share: float) -> None:
        """Move θ by a share of the way to the anchor: θ ← θ − share · (θ − anchor)."""
        self._rpc("zo_parameters", "pull", share)

    def restrict(
        self, scores: WeightedDirections, *, keep: float, per_tensor: bool = False, nested: bool = False
    ) -> None:
        """Let directions move only the share `keep` of highest score (`Parameters.restrict`)."""
        self._rpc("zo_parameters", "restrict", list(scores), keep=keep, per_tensor=per_tensor, nested=nested)

    def mask_digest(self) -> str:
        """Return a hash over the parameters that directions move: equal digests mean equal masks."""
        return self._rpc("zo_parameters", "mask_digest")

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Let the first worker write θ, mask, anchor and velocity to a file (`Parameters.save`)."""
        self._rpc("zo_call", "save", path.absolute(), dict(metadata))

    def load(self, path: Path) -> None:
        """Let every worker go on from what was saved, bit for bit (`Parameters.load`)."""
        self._rpc("zo_parameters", "load", path.absolute())
