"""θ inside vLLM's worker, written to where the engine computes with it: the model's own weights, or adapters' slots.

All kinds take a list of writes, each of which puts something into the live tensors of `Parameters`, and make one or
more of them visible to the engine at a time: of the whole model there is one copy, adapters have a slot for each probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from trainers.config import ModelConfig
from trainers.evaluators.base import Probe
from trainers.evaluators.parameters import Parameters
from trainers.evaluators.vllm.segments import lay_out
from trainers.evaluators.vllm.slots import AdapterSlots, Pair

Write = Callable[[], None]
Shown = list[tuple[int, Any]]
"""(number of a write, adapter that has it), for all that the engine can see at once."""

_PREFIX, _FACTORS = "base_model.model.", ("lora_A", "lora_B")


class FullWeights:
    """Weights of the model itself: all of them, or those of its linear layers.

    Args:
        runner: vLLM's model runner.
        weights: Hugging Face name → tensor of the master's type on the runner's device; kept, not copied.
        seed: public key of the bits that updates of a bfloat16 master are rounded by.
    """

    def __init__(self, runner: Any, weights: Mapping[str, torch.Tensor], seed: int) -> None:
        self._layout = lay_out(runner.model, weights)
        self.parameters = Parameters(self._layout.live, weights, seed=seed)

    def probed(self, probes: Sequence[Probe]) -> Iterator[Shown]:
        """Make every probe visible."""
        return self.shown(_writes(self.parameters, probes))

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
        self._slots = AdapterSlots(runner, config.lora.rank)
        self._slots.require(name.removeprefix(_PREFIX).rsplit(".", 2)[0] for name in weights)

    def probed(self, probes: Sequence[Probe]) -> Iterator[Shown]:
        """Make every probe visible."""
        return self.shown(_writes(self.parameters, probes))

    def shown(self, writes: Sequence[Write]) -> Iterator[Shown]:
        """Make as many writes visible at once as there are slots."""
        for group in self._slots.groups(len(writes)):
            for number, slot in group:
                writes[number]()
                self._slots.fill([slot], lambda _, part: self._pair(part))
            yield [(number, slot.adapter) for number, slot in group]

    def _pair(self, part: str) -> Pair | None:
        a, b = (self._live.get(f"{_PREFIX}{part}.{factor}.weight") for factor in _FACTORS)
        return None if a is None or b is None else (a, b * self._scale)


def _writes(parameters: Parameters, probes: Sequence[Probe]) -> list[Write]:
    return [partial(parameters.perturb, probe.direction, probe.scale) for probe in probes]
