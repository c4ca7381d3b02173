"""Reads the layers below the lowest one that moves once for all probes of a batch (`model.layers`).

Probes that move layers from number l on have the same activations below. The first probe of a batch reads all layers
and keeps what layer l − 1 gives; for the others every layer below l gives that at once. The kept states are as large as
the batch's tokens times the model's width.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


class LowerLayers:
    """The layers of a stack that no probe moves.

    Args:
        layers: of one type, from the first to the last that never moves; without any, every pass is read whole.
    """

    def __init__(self, layers: list[torch.nn.Module]) -> None:
        self._layers = layers
        self._kept: dict[int, Any] | None = None

    @contextmanager
    def read_once(self) -> Iterator[None]:
        """Keep and use the states of each pass within a block, in which neither passes nor lower layers may change."""
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def read(self, batch: Any, forward: Callable[[Any], Result]) -> Result:
        """Return what `forward` makes of a pass, without its lower layers where their states are kept."""
        if self._kept is None or not self._layers:
            return forward(batch)
        with ExitStack() as afterwards:
            if id(batch) in self._kept:
                states = self._kept[id(batch)]
                for layer in self._layers:
                    layer.forward = lambda *_, **__: states
                    afterwards.callback(delattr, layer, "forward")
            else:
                hook = self._layers[-1].register_forward_hook(
                    lambda _module, _inputs, output: self._keep(batch, output)
                )
                afterwards.callback(hook.remove)
            return forward(batch)

    def _keep(self, batch: Any, states: Any) -> None:
        assert self._kept is not None
        self._kept[id(batch)] = states
