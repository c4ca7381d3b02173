"""θ inside vLLM's worker, written to where the engine computes with it: the model's own weights, or adapters' slots.

Both kinds take a list of writes, each of which puts something into the live tensors of `Parameters`, and make one or
more of them visible to the engine at a time: of the whole model there is one copy, adapters have a slot for each probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from vllm.lora.request import LoRARequest

from trainers.config import ModelConfig
from trainers.evaluators.parameters import Parameters
from trainers.evaluators.vllm_segments import lay_out

Write = Callable[[], None]
Shown = list[tuple[int, Any]]
"""(number of a write, adapter that has it), for all that the engine can see at once."""

_PREFIX, _FACTORS = "base_model.model.", ("lora_A", "lora_B")


class FullWeights:
    """All weights of a model.

    Args:
        runner: vLLM's model runner.
        weights: Hugging Face name → tensor of the master's type on the runner's device; kept, not copied.
        seed: public key of the bits that updates of a bfloat16 master are rounded by.
    """

    def __init__(self, runner: Any, weights: Mapping[str, torch.Tensor], seed: int) -> None:
        self._layout = lay_out(runner.model, weights)
        self.parameters = Parameters(self._layout.live, weights, seed=seed)

    def shown(self, writes: Sequence[Write]) -> Iterator[Shown]:
        """Make one write after the other visible."""
        for number, write in enumerate(writes):
            write()
            self._layout.forward()
            yield [(number, None)]


class AdapterWeights:
    """The weights of a LoRA adapter, in slots of the engine that are filled anew each time.

    Args:
        runner: vLLM's model runner, with adapters enabled and none registered.
        weights: PEFT's name → tensor of the master's type on the runner's device; kept, not copied.
        config: rank, alpha and type of number.
        seed: public key of the bits that updates of a bfloat16 master are rounded by.

    Raises:
        ValueError: a module with an adapter is not one that the engine gives adapters to.
    """

    def __init__(self, runner: Any, weights: Mapping[str, torch.Tensor], config: ModelConfig, seed: int) -> None:
        dtype = getattr(torch, config.dtype)
        self._live = {name: tensor.to(dtype, copy=True) for name, tensor in weights.items()}
        self.parameters = Parameters(self._live, weights, seed=seed)
        self._scale = config.lora.alpha / config.lora.rank
        manager = runner.lora_manager._adapter_manager
        self._modules = {
            name: (module, manager.packed_modules.get(name, [name])) for name, module in manager.modules.items()
        }
        self._require_modules()
        self._slots = _register(runner.lora_manager, config.lora.rank)

    def shown(self, writes: Sequence[Write]) -> Iterator[Shown]:
        """Make as many writes visible at once as there are slots."""
        for start in range(0, len(writes), len(self._slots)):
            shown = []
            for write, (adapter, slot) in zip(writes[start:], self._slots, strict=False):
                write()
                self._fill(slot)
                shown.append((start + len(shown), adapter))
            yield shown

    def _fill(self, slot: int) -> None:
        for module, parts in self._modules.values():
            pairs = [self._pair(part) for part in parts]
            if any(a is not None for a, _ in pairs):
                factors = pairs[0] if len(parts) == 1 else tuple(map(list, zip(*pairs, strict=True)))
                module.set_lora(slot, *factors)

    def _pair(self, part: str) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        a, b = (self._live.get(f"{_PREFIX}{part}.{factor}.weight") for factor in _FACTORS)
        return a, None if b is None else b * self._scale  # a tensor of its own: the engine may change what it is given

    def _require_modules(self) -> None:
        known = {part for _, parts in self._modules.values() for part in parts}
        for name in self._live:
            if (part := name.removeprefix(_PREFIX).rsplit(".", 2)[0]) not in known:
                raise ValueError(
                    f"lora.target_modules: the engine gives no adapter to {part}. Leave it out, or use "
                    "performance.evaluator transformers."
                )


def _register(lora_manager: Any, rank: int) -> list[tuple[LoRARequest, int]]:
    """Register an empty adapter for each slot, once; requests name them from then on."""
    manager, slots = lora_manager._adapter_manager, []
    for number in range(1, manager.lora_slots + 1):
        adapter = LoRARequest(f"probe-{number}", number, "in memory")
        lora_manager.add_dummy_lora(adapter, rank=rank)
        manager.activate_adapter(number)
        slots.append((adapter, manager.lora_index_to_id.index(number)))
    return slots
