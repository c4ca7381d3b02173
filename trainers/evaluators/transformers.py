"""Losses by Hugging Face transformers: forward passes only, logits only where a label is.

The floor of a step is 2K forward passes of the batch. What this evaluator adds to it is one pass over the parameters a
probe (`Parameters.perturb`) and one an update; what it saves against a padded loop is the padding (packed rows) and the
logits of every place that predicts nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from trainers.config import ModelConfig, PerformanceConfig
from trainers.evaluators.base import Example, Point, Probe, Terms
from trainers.evaluators.batching import rows_of
from trainers.evaluators.loading import load_model, trainable_parameters
from trainers.evaluators.packing import PackedBatch, can_pack, pack
from trainers.evaluators.padding import PaddedBatch, pad
from trainers.evaluators.parameters import Parameters
from trainers.evaluators.scores import losses_of, row_scores

_CONSTANT_TOKENS = 8  # of the input that data-free scores ask about


class TransformersEvaluator:
    """A transformers model as a `LossEvaluator`: causal with options or target text, or a classification head.

    Args:
        model: which model and which of its parameters train.
        performance: micro-batch size and device.
        tokenizer: gives the padding token, and is exported with the model.
        num_labels: classes of a classification head; unused by a causal model.
        seed: public key from which a missing head and an adapter are initialised.
    """

    def __init__(
        self,
        model: ModelConfig,
        performance: PerformanceConfig,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_labels: int,
        seed: int,
    ) -> None:
        self._causal = model.head == "causal-lm"
        assert isinstance(tokenizer.pad_token_id, int)  # load_tokenizer sees to it
        self._pad_id = tokenizer.pad_token_id
        self._tokenizer = tokenizer
        self._performance = performance
        self._model = load_model(
            model, num_labels=num_labels, pad_token_id=self._pad_id, seed=seed, device=performance.device
        )
        _require_ids_fit(tokenizer, self._model)
        self.parameters = Parameters(trainable_parameters(self._model, model))
        base = self._model.get_base_model() if model.trainable == "lora" else self._model
        self._accepts = set(inspect.signature(base.forward).parameters)
        self._packs = self._causal and can_pack(base, self._accepts)
        special = set(tokenizer.all_special_ids)
        self._constant_id = next((n for n in range(len(tokenizer)) if n not in special), 0)

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters d."""
        return self.parameters.count

    @property
    def model_size(self) -> int:
        """Number of parameters of the whole model, those that do not train included."""
        return sum(tensor.numel() for tensor in self._model.parameters())

    @torch.inference_mode()
    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        """Return the loss of every example at every probe, nats, float64 [len(probes), len(batch)]; θ is unchanged."""
        prepared = self.prepare(batch)
        losses_PB = np.empty((len(probes), len(batch)))
        for p, probe in enumerate(probes):
            if prepared:  # an empty batch needs no forward pass
                self.parameters.perturb(probe.direction, probe.scale, probe.more)
            losses_PB[p] = losses_of(self.scores(prepared, len(batch)), batch)
        return losses_PB

    @torch.inference_mode()
    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        """Return the loss of every example at θ, nats, float64 [len(batch)]."""
        self.parameters.settle()
        return losses_of(self.scores(self.prepare(batch), len(batch)), batch)

    @torch.inference_mode()
    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        """Return the most likely option or class of every example at θ, int64 [len(batch)]."""
        self.parameters.settle()
        scores = self.scores(self.prepare(batch), len(batch))
        return np.array([int(np.argmax(of_example)) for of_example in scores], dtype=np.int64)

    @torch.inference_mode()
    def apply(self, update: Terms, *, momentum: float = 0.0) -> None:
        """Move θ to θ + Σ coefficient · z(direction), in the order given, or by the velocity (`Parameters.add`)."""
        self.parameters.add(update, momentum=momentum)

    @torch.inference_mode()
    def public_outputs(self, points: Sequence[Point]) -> list[float]:
        """Return the mean logit for a row of one constant token at each point; θ is unchanged."""
        (constant,) = self.prepare([self._constant_example()])
        outputs = []
        for point in points:
            self.parameters.place(point)
            outputs.append(float(self._logits(constant).double().mean()))
        return outputs

    def _constant_example(self) -> Example:
        """Return one token, repeated: an input that says nothing."""
        options = ((self._constant_id,),) if self._causal else ()
        return Example((self._constant_id,) * _CONSTANT_TOKENS, options, 0)

    @torch.inference_mode()
    def reset(self) -> None:
        """Set θ back to the base weights, and forget mask, anchor and velocity."""
        self.parameters.reset()

    def state_digest(self) -> str:
        """Return a hash over names, shapes and bits of θ: equal digests mean equal weights."""
        return self.parameters.digest()

    @torch.inference_mode()
    def export(self, folder: Path) -> None:
        """Write the model at θ with its tokenizer, as `from_pretrained` reads it (an adapter folder for LoRA)."""
        self.parameters.settle()
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def prepare(self, batch: Sequence[Example]) -> list[PackedBatch] | list[PaddedBatch]:
        """Return the forward passes that the batch needs."""
        rows, max_tokens = rows_of(batch), self._performance.micro_batch_tokens
        device = torch.device(self._performance.device)
        if self._packs:
            return pack(rows, max_tokens=max_tokens, device=device)
        return pad(rows, max_tokens=max_tokens, pad_id=self._pad_id, left=self._causal, device=device)

    def scores(self, prepared: Sequence[PackedBatch | PaddedBatch], num_examples: int) -> list[np.ndarray]:
        """Return each example's scores under the live weights, float64 [options]: logits, or mean log-probabilities."""
        found: list[dict[int, np.ndarray]] = [{} for _ in range(num_examples)]
        for batch in prepared:
            for row, values in zip(batch.rows, row_scores(self._logits(batch), batch.rows), strict=True):
                found[row.example][row.option] = values
        return [np.concatenate([options[index] for index in sorted(options)]) for options in found]

    def _logits(self, batch: PackedBatch | PaddedBatch) -> torch.Tensor:
        """Return the logits of all places that predict, row after row, [places, V]; one place a row for a head."""
        if isinstance(batch, PackedBatch):
            with batch.layout():
                return self._model(**batch.inputs()).logits[0]
        inputs = batch.inputs(self._accepts)
        if not self._causal:
            return self._model(**inputs).logits
        most = max(row.num_places for row in batch.rows)
        if "logits_to_keep" in self._accepts:
            inputs["logits_to_keep"] = most
        logits_RTV = self._model(**inputs, use_cache=False).logits[:, -most:]
        return torch.cat(
            [logits_TV[most - row.num_places :] for logits_TV, row in zip(logits_RTV, batch.rows, strict=True)]
        )


def _require_ids_fit(tokenizer: PreTrainedTokenizerBase, model: Any) -> None:
    """Refuse a tokenizer that knows tokens which the model does not: a private row with one would stop the run."""
    rows, largest = model.get_input_embeddings().weight.shape[0], max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise ValueError(
            f"model.path: the tokenizer's ids go up to {largest}, the model's embedding has {rows} rows. Use the "
            "tokenizer that belongs to the model, or resize its embedding."
        )
