"""Writes θ or probes into the place that vLLM computes with: the model's own weights, or the slots of adapters.

Each class takes a list of writes, which put θ or a probe into the live tensors of `Parameters`, and shows the engine
one or several of them at a time. The engine has one copy of the model's weights, but a slot for each of several
adapters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from trainers.config import ModelConfig
from trainers.directions.basis import Basis
from trainers.evaluators.base import Probe
from trainers.evaluators.parameters import Parameters
from trainers.evaluators.vllm.adapter_proof import prove_adapters
from trainers.evaluators.vllm.segments import lay_out
from trainers.evaluators.vllm.slots import AdapterSlot, AdapterSlots, Pair

Write = Callable[[], None]
Shown = list[tuple[int, Any]]
"""(number of a write, adapter that has it or None), for all writes that the engine reads at once."""

_PREFIX, _FACTORS = "base_model.model.", ("lora_A", "lora_B")


class FullWeights:
    """The model's own weights: all of them, or those of its linear layers.

    Args:
        runner: vLLM's model runner.
        weights: Hugging Face name → tensor of the master's type on the runner's device; kept, not copied.
        seed: public key of the bits that round updates of a bfloat16 master.
    """

    def __init__(self, runner: Any, weights: Mapping[str, torch.Tensor], seed: int) -> None:
        self._layout = lay_out(runner.model, weights)
        self.parameters = Parameters(self._layout.live, weights, seed=seed)

    def probed(self, probes: Sequence[Probe]) -> Iterator[Shown]:
        """Show the engine every probe."""
        return self.shown(_writes(self.parameters, probes))

    def shown(self, writes: Sequence[Write]) -> Iterator[Shown]:
        """Show the engine one write after the other."""
        for number, write in enumerate(writes):
            write()
            self._layout.forward()
            yield [(number, None)]


class AdapterWeights:
    """The weights of a LoRA adapter, in slots of the engine.

    Args:
        runner, weights, seed: as for `FullWeights`, with adapters enabled and PEFT's names.
        config: rank, alpha and type of number.
        fixed: first factors that do not train, under PEFT's names.
        slots: of another adapter of this engine, to be shared with it; new ones when absent.

    Raises:
        ValueError: the engine has no adapters for one of the modules, or multiplies them wrongly.
    """

    def __init__(
        self,
        runner: Any,
        weights: Mapping[str, torch.Tensor],
        config: ModelConfig,
        seed: int,
        fixed: Mapping[str, torch.Tensor],
        slots: AdapterSlots | None = None,
    ) -> None:
        dtype = getattr(torch, config.dtype)
        self._live = {name: tensor.to(dtype, copy=True) for name, tensor in weights.items()}
        self._fixed = {name: tensor.to(runner.device, dtype, copy=True) for name, tensor in fixed.items()}
        self.parameters = Parameters(self._live, weights, seed=seed)
        self._scale = config.lora.alpha / config.lora.rank
        self._begun_with = runner, weights, config, seed, fixed
        if slots is not None:
            self._slots = slots
            return
        self._slots = AdapterSlots(runner, config.lora.rank)
        self._slots.require(name.removeprefix(_PREFIX).rsplit(".", 2)[0] for name in weights)
        prove_adapters(runner, self._slots)

    def another(self) -> "AdapterWeights":
        """Return a further adapter of this engine, at the values that this one began with."""
        return AdapterWeights(*self._begun_with, self._slots)

    def filled(self, probes: Sequence[Probe], first: int) -> list[Any]:
        """Write probes into slots, from slot `first` on; return the adapter of each."""
        slots = self._slots.first(first + len(probes))[first:]
        for slot, write in zip(slots, _writes(self.parameters, probes), strict=True):
            write()
            self._fill(slot)
        return [slot.adapter for slot in slots]

    def use_basis(self, basis: Basis) -> None:
        """Make a basis the fixed first factors."""
        for name, part in basis.parts.items():
            self._fixed[name].copy_(part.T)
        self._slots.first_factors_of.clear()

    def fixed(self) -> Mapping[str, torch.Tensor]:
        return self._fixed

    def probed(self, probes: Sequence[Probe]) -> Iterator[Shown]:
        """Show the engine every probe."""
        return self.shown(_writes(self.parameters, probes))

    def shown(self, writes: Sequence[Write]) -> Iterator[Shown]:
        """Show the engine as many writes at once as there are slots; fixed first factors are written once a slot."""
        for group in self._slots.groups(len(writes)):
            for number, slot in group:
                writes[number]()
                self._fill(slot)
            yield [(number, slot.adapter) for number, slot in group]

    def _fill(self, slot: AdapterSlot) -> None:
        """Write the live factors into a slot; the first ones not, where they are fixed and the slot has this one's."""
        holds, held = self._slots.first_factors_of, self if self._fixed else None
        has_fixed = held is not None and holds.get(slot.index) is held
        self._slots.fill([slot], lambda _, part: self._pair(part), second_only=has_fixed)
        holds[slot.index] = held

    def _pair(self, part: str) -> Pair | None:
        tensors = {**self._fixed, **self._live}
        a, b = (tensors.get(f"{_PREFIX}{part}.{factor}.weight") for factor in _FACTORS)
        return None if a is None or b is None else (a, b * self._scale)


def _writes(parameters: Parameters, probes: Sequence[Probe]) -> list[Write]:
    return [partial(parameters.perturb, probe.direction, probe.scale) for probe in probes]
