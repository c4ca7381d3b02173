"""The step of the research codes (MeZO, DPZero), as the reference that other steps are compared with.

The batch is padded, logits are computed at every position, and `torch.normal` draws the direction again from a seed for
each of the four passes over the parameters: +λ, −2λ, +λ and the update.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM

from trainers.evaluators.base import Example

SMOOTHING, CLIP_NORM, NOISE_MULTIPLIER, STEP_SIZE = 1e-3, 300.0, 1.2, 1e-9


class Size(NamedTuple):
    """Size of a step: K directions and B examples."""

    directions: int
    batch: int


class PaddedLoop:
    """Private steps of a causal model on examples with one-token options, as the research codes take them."""

    def __init__(self, folder: Path, examples: Sequence[Example], device: str = "cpu", dtype: str = "float32") -> None:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self._model = model.to(device).eval()
        self._examples, self._device = examples, device

    @torch.inference_mode()
    def step(self, number: int, size: Size) -> None:
        """Take one step: two forward passes of the batch and one update along each direction."""
        batch = self._padded(self._examples[: size.batch])
        for k in range(size.directions):
            seed = number * size.directions + k
            self._perturb(seed, SMOOTHING)
            plus_B = self._losses(*batch)
            self._perturb(seed, -2 * SMOOTHING)
            minus_B = self._losses(*batch)
            self._perturb(seed, SMOOTHING)
            clipped_B = ((plus_B - minus_B) / (2 * SMOOTHING)).clamp(-CLIP_NORM, CLIP_NORM)
            noise = torch.normal(0.0, NOISE_MULTIPLIER * CLIP_NORM, (1,))
            self._perturb(seed, -STEP_SIZE * float(clipped_B.sum() + noise.to(self._device)) / size.batch)

    def close(self) -> None:
        """Do nothing: the loop holds no engine."""

    def _padded(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        longest = max(len(example.prompt_ids) for example in examples)
        rows = [[*example.prompt_ids, *[0] * (longest - len(example.prompt_ids))] for example in examples]
        last = [len(example.prompt_ids) - 1 for example in examples]
        options = [[option[0] for option in example.option_ids] for example in examples]
        labels = [example.label for example in examples]
        ids_BL, last_B, options_BO, labels_B = (
            torch.tensor(values, device=self._device) for values in (rows, last, options, labels)
        )
        return ids_BL, last_B, options_BO, labels_B

    def _losses(
        self, ids_BL: torch.Tensor, last_B: torch.Tensor, options_BO: torch.Tensor, labels_B: torch.Tensor
    ) -> torch.Tensor:
        mask_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device) <= last_B[:, None]
        logits_BLV = self._model(input_ids=ids_BL, attention_mask=mask_BL.long()).logits
        at_label_BV = logits_BLV[torch.arange(len(last_B)), last_B]
        return torch.nn.functional.cross_entropy(at_label_BV.gather(1, options_BO).float(), labels_B, reduction="none")

    def _perturb(self, seed: int, scale: float) -> None:
        torch.manual_seed(seed)
        for parameter in self._model.parameters():
            z = torch.normal(mean=0.0, std=1.0, size=parameter.size(), dtype=parameter.dtype, device=parameter.device)
            parameter.add_(z, alpha=scale)
