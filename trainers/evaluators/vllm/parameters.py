"""The `ParameterSpace` of a model in a vLLM engine. Every call goes to the workers, which hold the tensors."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainers.directions import Direction, WeightedDirections
from trainers.directions.counter import Block


class VllmParameters:
    """A `ParameterSpace` whose tensors are in the engine's workers.

    Args:
        rpc: calls a method of all workers, and returns the first one's answer.
    """

    def __init__(self, rpc: Callable[..., Any]) -> None:
        self._rpc = rpc

    @property
    def count(self) -> int:
        return self._rpc("zo_call", "count")

    def base_norm(self) -> float:
        return self._rpc("zo_parameters", "base_norm")

    def blocks(self) -> list[Block]:
        return self._rpc("zo_parameters", "blocks")

    def squared_norms(self, directions: Sequence[Direction]) -> np.ndarray:
        return self._rpc("zo_parameters", "squared_norms", list(directions))

    def set_anchor(self) -> None:
        self._rpc("zo_parameters", "set_anchor")

    def pull(self, share: float) -> None:
        self._rpc("zo_parameters", "pull", share)

    def restrict(
        self, scores: WeightedDirections, *, keep: float, per_tensor: bool = False, nested: bool = False
    ) -> None:
        self._rpc("zo_parameters", "restrict", list(scores), keep=keep, per_tensor=per_tensor, nested=nested)

    def mask_digest(self) -> str:
        return self._rpc("zo_parameters", "mask_digest")

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        self._rpc("zo_call", "save", path.absolute(), dict(metadata))

    def load(self, path: Path) -> None:
        self._rpc("zo_parameters", "load", path.absolute())
