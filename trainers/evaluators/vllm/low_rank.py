"""Low-rank probes of a model's own weights, read as adapters over them: θ ± λ U Vᵀ for all probes in one batch.

The engine holds θ, which updates move as usual. A probe is not written: its factors go into a slot, A = Vᵀ and
B = (λ/√r) U of every matrix, so 2K probes × B rows are one batch, as for a LoRA adapter. Probes that have no such form
are written one after the other: other laws, block-local directions, directions on a mask, and ranks above that of a
slot.

In half precision the factors are rounded and the sum θ + λ U Vᵀ is not: λ z survives even if it is smaller than the
last digit of a weight. In float32 both forms agree within rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from trainers.directions.apply import checked
from trainers.directions.backends.torch_ops import low_rank_tensors
from trainers.directions.counter import low_rank_scale
from trainers.evaluators.base import Probe
from trainers.evaluators.vllm.adapter_proof import prove_adapters
from trainers.evaluators.vllm.slots import AdapterSlots, Pair, without_adapters
from trainers.evaluators.vllm.weights import FullWeights, Shown

_SUFFIX = ".weight"


class LowRankWeights(FullWeights):
    """The weights of a model's linear layers, and slots for low-rank probes of them.

    Args:
        runner, weights, seed: as for `FullWeights`, with adapters enabled and matrices only.
        rank: largest rank of a probe in a slot.

    Raises:
        ValueError: the engine has no adapters for one of the matrices, or multiplies them wrongly.
    """

    def __init__(self, runner: Any, weights: Mapping[str, torch.Tensor], seed: int, rank: int) -> None:
        with without_adapters(runner):
            super().__init__(runner, weights, seed)
        self._shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        self._rank, self._device = rank, runner.device
        self._slots = AdapterSlots(runner, rank)
        self._slots.require(name.removesuffix(_SUFFIX) for name in weights)
        prove_adapters(runner, self._slots)

    def probed(self, probes: Sequence[Probe]) -> Iterator[Shown]:
        """Show the engine as many probes at once as there are slots, or one at a time if one does not fit a slot."""
        if self.parameters.is_masked or not all(map(self._fits, probes)):
            yield from super().probed(probes)
            return
        self.parameters.settle()
        self._layout.forward()
        for group in self._slots.groups(len(probes)):
            shown = [probes[number] for number, _ in group]
            self._slots.fill([slot for _, slot in group], lambda place, part, of=shown: self._pair(of[place], part))
            yield [(number, slot.adapter) for number, slot in group]

    def _fits(self, probe: Probe) -> bool:
        direction = probe.direction  # of a block-local one most modules have no factors, and a slot keeps old ones
        return direction.is_low_rank and direction.block is None and direction.rank <= self._rank

    def _pair(self, probe: Probe, part: str) -> Pair | None:
        name = part + _SUFFIX
        if name not in self._shapes:
            return None
        ((direction, scale),) = checked([(probe.direction, probe.scale)])
        left, right = low_rank_tensors(direction, name, self._shapes[name], self._device)
        return right.T.clone(memory_format=torch.contiguous_format), left * (scale * float(low_rank_scale(direction)))
