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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from trainers.directions import Direction, WeightedDirections


@dataclass(frozen=True)
class Probe:
    """One place to measure the losses at: θ + scale · z(direction)."""

    direction: Direction
    scale: float


@dataclass(frozen=True)
class OutputPoint:
    """One place to ask for the answer to the constant input: θ + Σ terms on the mask, on all of θ, or |θ| + Σ terms."""

    terms: tuple[tuple[Direction, float], ...]
    base: Literal["on the mask", "everywhere", "magnitudes"] = "everywhere"


class ParameterSpace(Protocol):
    """θ as public values: what pulls, masks and frames need to know and to do. Nothing here sees an example."""

    @property
    def count(self) -> int:
        """Number of parameters that directions move, d: those of the mask where there is one."""
        ...

    def inner_products(self, directions: Sequence[Direction]) -> np.ndarray:
        """Return 〈z_i, z_j〉 over the parameters that move, float64 [K, K], the same on every machine."""
        ...

    def set_anchor(self) -> None:
        """Take the θ of now as the place that `pull` draws to."""
        ...

    def pull(self, share: float) -> None:
        """Move θ by a share of the way to the anchor: θ ← θ − share · (θ − anchor)."""
        ...

    def restrict(
        self, scores: WeightedDirections, *, keep: float, per_tensor: bool = False, nested: bool = False
    ) -> None:
        """Let directions move only the share `keep` of highest score |θ_i · s_i|, s = Σ terms.

        Without terms the score is |θ_i|. nested: the new mask holds the one of now, or lies in it.
        Raises ValueError where nothing would be kept.
        """
        ...

    def mask_digest(self) -> str:
        """Return a hash over the parameters that directions move: equal digests mean equal masks."""
        ...

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write θ, mask, anchor and velocity to a safetensors file, with text to keep with them.

        Raises OSError where there is no room, or no right to write.
        """
        ...

    def load(self, path: Path) -> None:
        """Go on from what was saved of the same parameters, bit for bit, whichever evaluator saved it."""
        ...


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

    @property
    def model_size(self) -> int:
        """Number of parameters of the whole model, those that do not train included."""
        ...

    @property
    def parameters(self) -> ParameterSpace:
        """θ as public values."""
        ...

    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        """Return the model's mean output for a constant input, which is no example, at each point; θ is unchanged."""
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

    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        """Move θ to θ + Σ coefficient · z(direction), in the order given.

        With `momentum` β, θ moves by v ← β v + Σ coefficient · z(direction) instead; v is 0 after a reset or new mask.
        """
        ...

    def reset(self) -> None:
        """Set θ back to the base weights, and forget mask, anchor and velocity."""
        ...

    def state_digest(self) -> str:
        """Return a hash over names, shapes and bits of θ: equal digests mean equal weights."""
        ...

    def export(self, folder: Path) -> None:
        """Write the model at θ with its tokenizer, as `from_pretrained` reads it (an adapter folder for LoRA)."""
        ...

    def close(self) -> None:
        """Give back devices, memory and processes; the evaluator is of no use afterwards."""
        ...
