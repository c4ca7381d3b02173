"""What a loss evaluator promises: the loop's only view of a model.

An evaluator holds the trainable parameters θ and answers with one loss for each probe and each example. It alone
decides how: in place one after the other, in one batch as adapters, or spread over devices. The contract tests hold
every implementation to the same promises:

* the same direction moves the same parameters in the same way, by Hugging Face parameter name and flat index, whatever
  the fusing, sharding or device;
* after a probe θ is what it was, bit for bit;
* an example's loss has its own row; padding and the order of a batch change nothing beyond rounding;
* a probe that moves no loss is an error at start-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from trainers.directions import Direction


@dataclass(frozen=True)
class Probe:
    """One place to measure the losses at: θ + scale · z(direction)."""

    direction: Direction
    scale: float


@dataclass(frozen=True)
class Example:
    """One prepared example.

    Args:
        prompt_ids: token ids of the prompt.
        option_ids: token ids of each candidate continuation; one option for a target text; empty for a classification
            head, which reads the prompt alone.
        label: which option (or class) is right.
        mask_place: for a masked model, the place in the prompt where the options, one token each, are scored.
        also_right: further options that count as right where answers are compared; the loss is of `label` alone.
        references: right texts, for scores of generated answers; empty where nothing is generated.
    """

    prompt_ids: tuple[int, ...]
    option_ids: tuple[tuple[int, ...], ...]
    label: int
    mask_place: int | None = None
    also_right: tuple[int, ...] = ()
    references: tuple[str, ...] = ()

    def is_right(self, option: int) -> bool:
        """Return whether an option (or class) is a right answer."""
        return option == self.label or option in self.also_right


class LossEvaluator(Protocol):
    """Losses of examples at and around θ."""

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters d."""
        ...

    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        """Return the loss of every example at every probe, nats, float64 [len(probes), len(batch)]; θ is unchanged."""
        ...

    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        """Return the loss of every example at θ, nats, float64 [len(batch)]."""
        ...

    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        """Return the most likely option or class of every example at θ, int64 [len(batch)]."""
        ...

    def generate(self, batch: Sequence[Example], max_new_tokens: int) -> list[str]:
        """Return each prompt's likeliest continuation at θ, token by token, to the end of its line."""
        ...

    def apply(self, update: Sequence[tuple[Direction, float]]) -> None:
        """Move θ to θ + Σ coefficient · z(direction), in the order given."""
        ...

    def reset(self) -> None:
        """Set θ back to the base weights."""
        ...

    def state_digest(self) -> str:
        """Return a hash over names, shapes and bits of θ: equal digests mean equal weights."""
        ...

    def export(self, folder: Path) -> None:
        """Write the model at θ with its tokenizer, as `from_pretrained` reads it (an adapter folder for LoRA)."""
        ...
