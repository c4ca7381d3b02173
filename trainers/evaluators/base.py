"""What a loss evaluator promises. It is all that the training loop sees of a model.

An evaluator holds the trainable parameters θ and returns one loss for each probe and each example. It may measure the
probes one after the other in place, or all in one batch as adapters, on one device or on several. The contract tests
hold every implementation to the same promises:

* A direction moves the same parameters by the same values, addressed by Hugging Face parameter name and flat index,
  however the implementation fuses or shards them and whatever the device.
* After a probe θ has the bits that it had before.
* The loss of an example depends on its own row. Padding and the order of the batch change it by rounding only.
* No pass leaves anything to a later one: losses are the same bits whatever was read before, be it NaN or infinite.
* If a probe moves no loss, start-up fails.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from trainers.directions import Direction, WeightedDirections
from trainers.directions.counter import Block

if TYPE_CHECKING:
    from trainers.directions.basis import Basis  # loads torch


@dataclass(frozen=True)
class Probe:
    """A point at which losses are measured: θ + scale · z(direction)."""

    direction: Direction
    scale: float


@dataclass(frozen=True)
class OutputPoint:
    """A point at which the output for the constant input is computed: base + Σ terms.

    base: θ with the terms on the mask only, θ with the terms everywhere, or |θ| with the terms everywhere.
    """

    terms: tuple[tuple[Direction, float], ...]
    base: Literal["on the mask", "everywhere", "magnitudes"] = "everywhere"


class ParameterSpace(Protocol):
    """θ and the state that belongs to it: mask, anchor, velocity. All of it is public; no method sees an example."""

    @property
    def count(self) -> int:
        """Number d of parameters that directions move: those of the mask, if there is one."""
        ...

    def base_norm(self) -> float:
        """Return ‖θ_0‖ of all trainable base weights, to three digits: the same on every machine."""
        ...

    def blocks(self) -> list[Block]:
        """Return the blocks that block-local directions move, one each (`directions/blocks.py`)."""
        ...

    def squared_norms(self, directions: Sequence[Direction]) -> np.ndarray:
        """Return ‖z_k‖² over the parameters that directions move, float64 [K], the same on every machine."""
        ...

    def set_anchor(self) -> None:
        """Make the current θ the anchor of `pull`."""
        ...

    def pull(self, share: float) -> None:
        """Move θ by a share of the way to the anchor: θ ← θ − share · (θ − anchor)."""
        ...

    def restrict(
        self, scores: WeightedDirections, *, keep: float, per_tensor: bool = False, nested: bool = False
    ) -> None:
        """Set the mask to the share `keep` of parameters of highest score |θ_i · s_i|, where s = Σ terms of `scores`.

        Args:
            scores: without terms the score is |θ_i|.
            keep: in (0, 1]; ValueError if the mask would be empty.
            per_tensor: keep this share of each tensor.
            nested: the new mask contains the present one, or is contained in it.
        """
        ...

    def mask_digest(self) -> str:
        """Return a hash of the mask: equal digests mean equal masks."""
        ...

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write θ, mask, anchor, velocity and `metadata` to a safetensors file; OSError if it cannot be written."""
        ...

    def load(self, path: Path) -> None:
        """Restore what `save` of any evaluator wrote for the same parameters, bit for bit."""
        ...


@dataclass(frozen=True)
class Example:
    """One prepared example.

    Args:
        prompt_ids: token ids of the prompt.
        option_ids: token ids of each candidate continuation; one option for a target text; none for a classification
            head, which reads the prompt only.
        label: number of the right option (or class).
        mask_place: of a masked model, the place in the prompt where the options, one token each, are scored.
        also_right: further options that count as right in a score; the loss uses `label` only.
        references: right texts, for scores of generated answers; otherwise empty.
    """

    prompt_ids: tuple[int, ...]
    option_ids: tuple[tuple[int, ...], ...]
    label: int
    mask_place: int | None = None
    also_right: tuple[int, ...] = ()
    references: tuple[str, ...] = ()

    def is_right(self, option: int) -> bool:
        return option == self.label or option in self.also_right


class LossEvaluator(Protocol):
    """Losses of examples at and around θ."""

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters d."""
        ...

    @property
    def model_size(self) -> int:
        """Number of parameters of the whole model, trainable or not."""
        ...

    @property
    def parameters(self) -> ParameterSpace: ...

    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        """Return the model's mean logit for a constant public input at each point; θ is unchanged."""
        ...

    def public_answers(self) -> list[float]:
        """Return the model's mean logit at θ for each of a few different public inputs."""
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
        """Return each prompt's greedy continuation at θ, to its line's end; ValueError if the model is not causal."""
        ...

    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        """Move θ by Σ coefficient · z(direction), in the order of `update`.

        With `momentum` β, θ moves by v ← β v + Σ coefficient · z(direction); v is 0 after a reset or a new mask.
        """
        ...

    def reset(self) -> None:
        """Set θ back to the base weights, and forget mask, anchor and velocity."""
        ...

    def state_digest(self) -> str:
        """Return a hash of the names, shapes and bits of θ: equal digests mean equal weights."""
        ...

    def export(self, folder: Path) -> None:
        """Write the model at θ and its tokenizer for `from_pretrained`; of a LoRA model write the adapter."""
        ...

    def close(self) -> None:
        """Free devices, memory and processes; idempotent. No other method may be called afterwards."""
        ...


class Guided(LossEvaluator, Protocol):
    """An evaluator whose directions may lie in a basis that public rows give."""

    def activation_basis(self, public: Sequence[Example], rank: int) -> Basis:
        """Return, for each layer, a basis of its inputs on public text at θ; ValueError if the rank is too large."""
        ...

    def gradient_basis(self, batches: Sequence[Sequence[Example]]) -> Basis:
        """Return the gradient at θ of the mean loss of each batch of public rows, each of norm 1."""
        ...

    def use_basis(self, basis: Basis) -> None:
        """Draw directions in a basis from now on, or make it the fixed A of a LoRA adapter; θ is unchanged."""
        ...


class SelfTestable(LossEvaluator, Protocol):
    """An evaluator of a real model, which the self-test can disturb."""

    def poisoned(self, spared: Collection[int]) -> AbstractContextManager[int]:
        """Within a block, make the embedding of a token NaN: not one of `spared`, nor padding. It gives the token.

        θ and its digest stay as they are.
        """
        ...
