"""Losses by Hugging Face transformers: forward passes only, logits only where a label is.

The floor of a step is 2K forward passes of the batch. What this evaluator adds to it is one pass over the parameters a
probe (`Parameters.perturb`) and one an update; what it saves against a padded loop is the padding (packed rows) and the
logits of every place that predicts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from trainers.config import ModelConfig, PerformanceConfig
from trainers.directions import WeightedDirections
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.loading import load_model, rounded_to, trainable_parameters
from trainers.evaluators.parameters import Parameters
from trainers.evaluators.rows import Row, rows_of
from trainers.evaluators.scores import loss_tensor, losses_of, row_scores, score_tensors
from trainers.evaluators.transformers.forward import Forward
from trainers.evaluators.transformers.generation import generate, standard_attention
from trainers.evaluators.transformers.packing import PackedBatch
from trainers.evaluators.transformers.padding import PaddedBatch
from trainers.evaluators.vocabulary import constant_example, require_ids_fit


class TransformersEvaluator:
    """A transformers model as a `LossEvaluator`: causal with options or target text, masked, or a classification head.

    Args:
        model: which model, which of its parameters train, and the type of number that it computes in.
        performance: micro-batch size and device.
        tokenizer: gives the padding token, and is exported with the model.
        num_labels: classes of a classification head; unused by a causal model.
        seed: public key from which a missing head and an adapter are initialised, and by which updates of a bfloat16
            master are rounded.
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
        assert isinstance(tokenizer.pad_token_id, int)  # load_tokenizer sees to it
        pad_id = tokenizer.pad_token_id
        self._tokenizer = tokenizer
        self._performance = performance
        self._model = load_model(
            model, num_labels=num_labels, pad_token_id=pad_id, seed=seed, device=performance.device
        )
        require_ids_fit(tokenizer, self._model.get_input_embeddings().weight.shape[0])
        self._trained = trainable_parameters(self._model, model)
        exact = _masters(self._trained, model)
        rounded_to(model.dtype, self._model)
        live = {name: parameter.data for name, parameter in self._trained.items()}
        self.parameters = Parameters(live, exact, seed=seed)
        self._base = self._model.get_base_model() if model.trainable == "lora" else self._model
        self._forward = Forward(self._model, self._base, config=model, pad_id=pad_id, performance=performance)
        self._constant = constant_example(tokenizer, model.head)

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters d."""
        return self.parameters.count

    @property
    def packs(self) -> bool:
        """Whether rows are laid end to end without padding."""
        return self._forward.packs

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
                self.parameters.perturb(probe.direction, probe.scale)
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
    def generate(self, batch: Sequence[Example], max_new_tokens: int) -> list[str]:
        """Return each prompt's likeliest continuation at θ, token by token, to the end of its line.

        Raises:
            ValueError: the model is not causal.
        """
        if not self._forward.causal:
            raise ValueError("only a causal model writes text: a metric over answers needs model.head causal-lm")
        self.parameters.settle()
        with standard_attention(self._base):
            return generate(
                self._model,
                self._tokenizer,
                [example.prompt_ids for example in batch],
                max_new=max_new_tokens,
                max_tokens=self._performance.micro_batch_tokens,
                accepts=self._forward.accepts,
            )

    @torch.inference_mode()
    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        """Move θ to θ + Σ coefficient · z(direction), in the order given, or by the velocity (`Parameters.add`)."""
        self.parameters.add(update, momentum=momentum)

    @torch.inference_mode()
    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        """Return the mean logit for a row of one constant token at each point; θ is unchanged."""
        (constant,) = self.prepare([self._constant])
        outputs = []
        for point in points:
            self.parameters.place(point)
            outputs.append(float(self._forward.logits(constant).double().mean()))
        return outputs

    @torch.inference_mode()
    def reset(self) -> None:
        """Set θ back to the base weights, and forget mask, anchor and velocity."""
        self.parameters.reset()

    def state_digest(self) -> str:
        """Return a hash over names, shapes and bits of θ: equal digests mean equal weights."""
        return self.parameters.digest()

    @torch.inference_mode()
    def export(self, folder: Path) -> None:
        """Write the model at θ with its tokenizer, as `from_pretrained` reads it (an adapter folder for LoRA).

        What trains is written in the master's type, as updates left it, whatever type the model computes in.
        """
        live = [(parameter, parameter.data) for parameter in self._model.parameters()]
        if self._model is self._base:  # what does not train as well: a file in two types would be read in one
            rounded_to("float32", self._model)
        for name, tensor in self.parameters.theta().items():
            self._trained[name].data = tensor
        try:
            self._model.save_pretrained(folder)
        finally:
            for parameter, tensor in live:
                parameter.data = tensor
        self._tokenizer.save_pretrained(folder)

    def close(self) -> None:
        """Give back nothing: memory goes with the evaluator itself."""

    def prepare(self, batch: Sequence[Example]) -> list[PackedBatch] | list[PaddedBatch]:
        """Return the forward passes that the batch needs."""
        return self._forward.prepare(batch)

    def scores(self, prepared: Sequence[PackedBatch | PaddedBatch], num_examples: int) -> list[np.ndarray]:
        """Return each example's scores under the live weights, float64 [options]: logits, or mean log-probabilities."""
        found: list[dict[int, np.ndarray]] = [{} for _ in range(num_examples)]
        for batch in prepared:
            for row, values in zip(batch.rows, row_scores(self._forward.logits(batch), batch.rows), strict=True):
                found[row.example][row.option] = values
        return [np.concatenate([options[index] for index in sorted(options)]) for options in found]

    @contextmanager
    def differentiable(self) -> Iterator[tuple[Any, dict[str, torch.nn.Parameter]]]:
        """Hand out the model at θ, for a while able to differentiate, and name → parameter of what trains."""
        self.parameters.settle()
        with standard_attention(self._base):
            for parameter in self._trained.values():
                parameter.requires_grad_(True)
            try:
                yield self._model, self._trained
            finally:
                for parameter in self._trained.values():
                    parameter.requires_grad_(False)
                    parameter.grad = None

    def row_losses(self, batch: Sequence[Example]) -> tuple[list[Row], torch.Tensor]:
        """Return the rows of a batch, longest first, and every example's loss, nats, float64 [len(batch)].

        One padded forward pass, which keeps its graph where it is called under `differentiable`.
        """
        rows = rows_of(batch)
        padded_rows = self._forward.padded(rows)
        return rows, loss_tensor(score_tensors(self._forward.logits(padded_rows), rows), rows, batch)


def _masters(trained: Mapping[str, torch.nn.Parameter], config: ModelConfig) -> dict[str, torch.Tensor]:
    """Return the weights in the master's type, and put a copy into the model in the type that it computes in."""
    masters = {}
    for name, parameter in trained.items():  # one after the other: what was loaded is freed on the way
        masters[name] = parameter.data.to(getattr(torch, config.master_dtype))
        parameter.data = masters[name].to(getattr(torch, config.dtype), copy=True)
    return masters
