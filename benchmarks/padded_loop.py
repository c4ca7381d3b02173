"""The loop of the research codes, to measure against: padded batch, logits everywhere, directions drawn four times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from random_llama import OPTIONS
from transformers import AutoModelForCausalLM

from trainers.evaluators.base import Example

SMOOTHING, STEP_SIZE = 1e-3, 1e-9


class Size(NamedTuple):
    """What a step takes: directions K and examples B."""

    directions: int
    batch: int


class PaddedLoop:
    """The loop of the research codes, for K directions."""

    def __init__(self, folder: Path, examples: Sequence[Example], device: str, dtype: str) -> None:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self._model = model.to(device).eval()
        self._examples, self._device = examples, device

    @torch.inference_mode()
    def step(self, number: int, size: Size) -> None:
        batch = self._padded(self._examples[: size.batch])
        for k in range(size.directions):
            seed = number * size.directions + k
            self._perturb(seed, SMOOTHING)
            plus_B = self._losses(*batch)
            self._perturb(seed, -2 * SMOOTHING)
            difference = float((plus_B - self._losses(*batch)).sum())
            self._perturb(seed, SMOOTHING)
            self._perturb(seed, STEP_SIZE * difference)

    def _padded(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        longest = max(len(example.prompt_ids) for example in examples)
        rows = [[*example.prompt_ids, *[0] * (longest - len(example.prompt_ids))] for example in examples]
        last = [len(example.prompt_ids) - 1 for example in examples]
        labels = [example.label for example in examples]
        ids_BL, last_B, labels_B = (torch.tensor(values, device=self._device) for values in (rows, last, labels))
        return ids_BL, last_B, labels_B

    def _losses(self, ids_BL: torch.Tensor, last_B: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        mask_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device) <= last_B[:, None]
        logits_BLV = self._model(input_ids=ids_BL, attention_mask=mask_BL.long()).logits
        at_label_BO = logits_BLV[torch.arange(len(last_B)), last_B][:, [token for (token,) in OPTIONS]]
        return torch.nn.functional.cross_entropy(at_label_BO.float(), labels_B, reduction="none")

    def _perturb(self, seed: int, scale: float) -> None:
        torch.manual_seed(seed)
        for parameter in self._model.parameters():
            z = torch.normal(mean=0.0, std=1.0, size=parameter.size(), dtype=parameter.dtype, device=parameter.device)
            parameter.add_(z, alpha=scale)
