"""Slots of vLLM's adapters: empty adapters that are registered once, and whose factors are written in place."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from vllm.lora.request import LoRARequest

Pair = tuple[torch.Tensor, torch.Tensor]
"""A [rank, inputs] and B [outputs, rank] of one matrix: an input x adds B A x to its output."""


class AdapterSlot(NamedTuple):
    """The place of one adapter's factors, and the adapter that a request names to be read with them."""

    index: int
    adapter: LoRARequest


class AdapterSlots:
    """All slots of an engine.

    Args:
        runner: vLLM's model runner, with adapters enabled and none registered.
        rank: largest rank of the factors; factors of lower rank are padded with zeros.
    """

    def __init__(self, runner: Any, rank: int) -> None:
        manager = runner.lora_manager._adapter_manager
        self._modules = {
            name: (module, manager.packed_modules.get(name, [name])) for name, module in manager.modules.items()
        }
        self._slots = list(_registered(runner.lora_manager, rank))
        self.first_factors_of: dict[int, Any] = {}  # index of a slot → whose fixed first factors it holds, if any

    def require(self, parts: Iterable[str]) -> None:
        """Check that these modules, by Hugging Face name, have adapters.

        Raises:
            ValueError: one of them has none.
        """
        known = {part for _, parts in self._modules.values() for part in parts}
        for part in parts:
            if part not in known:
                raise ValueError(
                    f"model.trainable: the engine gives no adapter to {part}. Leave it out of lora.target_modules, or "
                    "use performance.evaluator transformers."
                )

    def first(self, count: int) -> list[AdapterSlot]:
        """Return some slots, as many as there are but at most `count`."""
        return self._slots[:count]

    def modules(self) -> Iterator[tuple[str, Any]]:
        """Yield the name of every layer with adapters, and the layer."""
        yield from ((name, module) for name, (module, _) in self._modules.items())

    def groups(self, count: int) -> Iterator[list[tuple[int, AdapterSlot]]]:
        """Yield the numbers below `count`, each with a slot, as many at a time as there are slots."""
        for start in range(0, count, len(self._slots)):
            yield list(zip(range(start, count), self._slots, strict=False))

    def fill(
        self, slots: Sequence[AdapterSlot], pair_of: Callable[[int, str], Pair | None], *, second_only: bool = False
    ) -> None:
        """Write the factors of every module into slots.

        Args:
            slots: to be written.
            pair_of: (place in `slots`, name of a module) → factors, in tensors that the engine may change, or None.
            second_only: write B alone; the slots hold A already.
        """
        for module, parts in self._modules.values():
            for place, slot in enumerate(slots):
                pairs = [pair_of(place, part) or (None, None) for part in parts]
                if second_only:
                    pairs = [(None if a is None else a[:0], b) for a, b in pairs]  # no row of A
                if any(a is not None for a, _ in pairs):
                    factors = pairs[0] if len(parts) == 1 else tuple(map(list, zip(*pairs, strict=True)))
                    with _unerased(module) if second_only else nullcontext():
                        module.set_lora(slot.index, *factors)


@contextmanager
def _unerased(module: Any) -> Iterator[None]:
    """Keep vLLM from setting a slot to zero before it is written."""
    module.reset_lora = lambda index: None
    try:
        yield
    finally:
        del module.reset_lora


@contextmanager
def without_adapters(runner: Any) -> Iterator[None]:
    """Unwrap the layers with adapters within a block: `load_weights` does not know the names of the wrapped ones."""
    wrapped = dict(runner.lora_manager._adapter_manager.modules)
    for name, module in wrapped.items():
        runner.model.set_submodule(name, module.base_layer)
    try:
        yield
    finally:
        for name, module in wrapped.items():
            runner.model.set_submodule(name, module)


def _registered(lora_manager: Any, rank: int) -> Iterator[AdapterSlot]:
    """Register an empty adapter for each slot."""
    manager = lora_manager._adapter_manager
    for number in range(1, manager.lora_slots + 1):
        adapter = LoRARequest(f"probe-{number}", number, "in memory")
        lora_manager.add_dummy_lora(adapter, rank=rank)
        manager.activate_adapter(number)
        yield AdapterSlot(manager.lora_index_to_id.index(number), adapter)
