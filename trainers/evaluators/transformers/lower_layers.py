"""Reads the layers below those that a probe moves once for all probes of a batch.

Layers below what a probe moves compute at θ, whatever the probe. So the first probe that is read, the one that begins
highest in the stack, reads all layers and keeps the states at which the others begin; for these every layer below gives
the kept states at once. Each kept state is as large as the batch's tokens times the model's width.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

from trainers.errors import DpzoError

Result = TypeVar("Result")


class _Reached(DpzoError):
    """Ends a forward pass whose states are there; nobody outside of this file meets it."""

    def __init__(self, states: Any) -> None:
        super().__init__()
        self.states = states


class LowerLayers:
    """The layers of a stack, and what they gave for the passes of a batch.

    Args:
        layers: of one type, from the first to the last; without any, every pass is read whole.
    """

    def __init__(self, layers: Iterable[torch.nn.Module]) -> None:
        self._layers = list(layers)
        self._starts: set[int] | None = None
        self._kept: dict[
            tuple[int, int], Any
        ] = {}  # (id of a pass, number of a layer) → the states that it begins with

    @property
    def count(self) -> int:
        return len(self._layers)

    @contextmanager
    def read_once(self, starts: Iterable[int]) -> Iterator[None]:
        """Keep and use states within a block, in which passes and layers below a pass's own start may not change.

        starts: numbers of the layers at which passes begin.
        """
        self._starts = set(starts) - {0}
        try:
            yield
        finally:
            self._starts = None
            self._kept.clear()

    def read(self, batch: Any, forward: Callable[[Any], Result], start: int) -> Result:
        """Return what `forward` makes of a pass under which the layers below number `start` are at θ.

        Layers whose states are kept are not read. The starts of passes over one batch do not increase.
        """
        if not start or self._starts is None:
            return forward(batch)
        begun = max((number for of, number in self._kept if of == id(batch) and number <= start), default=0)
        with ExitStack() as afterwards:
            for layer in self._layers[:begun]:
                layer.forward = lambda *_, **__: self._kept[id(batch), begun]
                afterwards.callback(delattr, layer, "forward")
            for number in self._starts:
                if begun < number <= start:
                    afterwards.callback(self._hook(id(batch), number).remove)
            return forward(batch)

    def give(self, batch: Any, start: int, states: Any) -> None:
        """Give the states with which layer number `start` begins, of a pass that is read within this block."""
        self._kept[id(batch), start] = states

    def states(self, batch: Any, forward: Callable[[Any], Any], start: int) -> Any:
        """Return the states with which layer number `start` begins; no layer from there on is read."""

        def stop(_module: Any, _inputs: Any, output: Any) -> None:
            raise _Reached(output)

        hook = self._layers[start - 1].register_forward_hook(stop)
        try:
            forward(batch)
        except _Reached as reached:
            return reached.states
        finally:
            hook.remove()
        raise RuntimeError("the forward pass did not read the layers of its stack")

    def _hook(self, batch: int, number: int) -> Any:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            self._kept[batch, number] = output

        return self._layers[number - 1].register_forward_hook(keep)
