"""Losses by Hugging Face transformers: forward passes only, logits only where a label is.

The floor of a step is 2K forward passes of the batch. What this evaluator adds to it is one pass over the parameters a
probe (`Parameters.perturb`) and one an update; what it saves against a padded loop is padding (rows sorted by length)
and the logits of every place that predicts nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from trainers.config import ModelConfig, PerformanceConfig
from trainers.directions import Direction
from trainers.evaluators.base import Example, Probe
from trainers.evaluators.batching import MicroBatch, Row, micro_batches, rows_of
from trainers.evaluators.loading import load_model, trainable_parameters
from trainers.evaluators.parameters import Parameters


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
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._tokenizer = tokenizer
        self._performance = performance
        self._model = load_model(
            model, num_labels=num_labels, pad_token_id=self._pad_id, seed=seed, device=performance.device
        )
        self.parameters = Parameters(trainable_parameters(self._model, model))
        base = self._model.get_base_model() if model.trainable == "lora" else self._model
        self._accepts = set(inspect.signature(base.forward).parameters)

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters d."""
        return self.parameters.count

    @torch.inference_mode()
    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        """Return the loss of every example at every probe, nats, float64 [len(probes), len(batch)]; θ is unchanged."""
        prepared = self.prepare(batch)
        losses_PB = np.empty((len(probes), len(batch)))
        for p, probe in enumerate(probes):
            if prepared:  # an empty batch needs no forward pass
                self.parameters.perturb(probe.direction, probe.scale)
            losses_PB[p] = _losses(self.scores(prepared, len(batch)), batch)
        return losses_PB

    @torch.inference_mode()
    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        """Return the loss of every example at θ, nats, float64 [len(batch)]."""
        self.parameters.settle()
        return _losses(self.scores(self.prepare(batch), len(batch)), batch)

    @torch.inference_mode()
    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        """Return the most likely option or class of every example at θ, int64 [len(batch)]."""
        self.parameters.settle()
        scores = self.scores(self.prepare(batch), len(batch))
        return np.array([int(np.argmax(of_example)) for of_example in scores], dtype=np.int64)

    @torch.inference_mode()
    def apply(self, update: Sequence[tuple[Direction, float]]) -> None:
        """Move θ to θ + Σ coefficient · z(direction), in the order given."""
        self.parameters.add(update)

    @torch.inference_mode()
    def reset(self) -> None:
        """Set θ back to the base weights."""
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

    def prepare(self, batch: Sequence[Example]) -> list[MicroBatch]:
        """Return the forward passes that the batch needs."""
        return micro_batches(
            rows_of(batch),
            max_tokens=self._performance.micro_batch_tokens,
            pad_id=self._pad_id,
            pad_left=self._causal,
            device=torch.device(self._performance.device),
        )

    def scores(self, prepared: Sequence[MicroBatch], num_examples: int) -> list[np.ndarray]:
        """Return each example's scores under the live weights, float64 [options]: logits, or mean log-probabilities."""
        found: list[dict[int, np.ndarray]] = [{} for _ in range(num_examples)]
        for micro_batch in prepared:
            logits_RTV = self._logits(micro_batch)
            for row, values in zip(micro_batch.rows, _row_scores(logits_RTV, micro_batch.rows), strict=True):
                found[row.example][row.option] = values
        return [np.concatenate([options[index] for index in sorted(options)]) for options in found]

    def _logits(self, micro_batch: MicroBatch) -> torch.Tensor:
        """Return the logits that score the rows: [R, T, V] of the last T places, or [R, classes] of a head."""
        inputs = {"input_ids": micro_batch.input_ids_RL, "attention_mask": micro_batch.attention_mask_RL}
        if not self._causal:
            return self._model(**inputs).logits
        if "position_ids" in self._accepts:
            inputs["position_ids"] = micro_batch.position_ids_RL
        places = max(1 if row.options_share_row else len(row.targets) for row in micro_batch.rows)
        if "logits_to_keep" in self._accepts:
            return self._model(**inputs, use_cache=False, logits_to_keep=places).logits
        return self._model(**inputs, use_cache=False).logits[:, -places:]


def _row_scores(logits: torch.Tensor, rows: Sequence[Row]) -> list[np.ndarray]:
    """Return what each row says of its options: all logits, the options' logits, or one mean log-probability."""
    if logits.ndim == 2:
        return list(logits.double().cpu().numpy())
    if all(row.options_share_row for row in rows):
        options_RO = torch.tensor([row.targets for row in rows], device=logits.device)
        return list(logits[:, -1].gather(1, options_RO).double().cpu().numpy())
    return [_one_row_score(logits_TV, row) for logits_TV, row in zip(logits, rows, strict=True)]


def _one_row_score(logits_TV: torch.Tensor, row: Row) -> np.ndarray:
    targets = torch.tensor(row.targets, device=logits_TV.device)
    if row.options_share_row:
        return logits_TV[-1, targets].double().cpu().numpy()
    log_probs_TV = torch.log_softmax(logits_TV[-len(row.targets) :].double(), dim=-1)
    return log_probs_TV.gather(1, targets[:, None]).mean().reshape(1).cpu().numpy()


def _losses(scores: Sequence[np.ndarray], batch: Sequence[Example]) -> np.ndarray:
    """Return each example's loss: cross-entropy over its options, or minus the score of a single target text."""
    return np.array([_loss(of_example, example.label) for of_example, example in zip(scores, batch, strict=True)])


def _loss(scores_O: np.ndarray, label: int) -> float:
    if len(scores_O) == 1:
        return float(-scores_O[0])
    largest = scores_O.max()
    return float(largest + np.log(np.exp(scores_O - largest).sum()) - scores_O[label])
