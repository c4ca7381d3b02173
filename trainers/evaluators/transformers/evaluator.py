"""The loss evaluator by Hugging Face transformers.

A two-sided step cannot cost less than 2K forward passes over the batch. This evaluator adds one pass over the
parameters per probe (`Parameters.perturb`) and one per update. It computes no padding where rows can be packed, and
logits at the places that predict only.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from trainers.config import ModelConfig, PerformanceConfig
from trainers.directions import Direction, WeightedDirections
from trainers.directions.basis import Basis
from trainers.directions.counter import Block
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.causality import require_causal
from trainers.evaluators.layers import lowest_layer, plain_stack
from trainers.evaluators.loading import load_model, rounded_to, trainable_parameters
from trainers.evaluators.lora_factors import first_factors_of
from trainers.evaluators.model_files import limits
from trainers.evaluators.parameters import Parameters
from trainers.evaluators.poison import poison, token_outside
from trainers.evaluators.rows import Row
from trainers.evaluators.scores import best_options, loss_tensor, losses_of, option_scores, row_scores, score_tensors
from trainers.evaluators.transformers.forward import Forward
from trainers.evaluators.transformers.generation import generate, standard_attention
from trainers.evaluators.transformers.kept_states import kept_states
from trainers.evaluators.transformers.lower_layers import LowerLayers
from trainers.evaluators.transformers.packing import PackedBatch
from trainers.evaluators.transformers.padding import PaddedBatch
from trainers.evaluators.transformers.public_basis import gradient_basis, input_basis, layers_in_a_basis
from trainers.evaluators.vocabulary import constant_examples, padding_id

LOGGER = logging.getLogger(__name__)
TEST_RADIUS = 1e-2


class TransformersEvaluator:
    """A `LossEvaluator` of a causal model, a masked model, or a model with a classification head.

    Args:
        model: path and head of the model, its trainable parameters, and its type of number.
        performance: micro-batch size and device.
        tokenizer: of the model; gives the padding token, and is exported with it.
        num_labels: number of classes of a classification head.
        seed: public key that initialises an adapter and a missing head, and rounds updates of a bfloat16 master.
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
        pad_id = padding_id(tokenizer, limits(model.path, model.head).num_ids)
        self._tokenizer, self._pad_id = tokenizer, pad_id
        self._performance = performance
        self._model = load_model(
            model, num_labels=num_labels, pad_token_id=pad_id, seed=seed, device=performance.device
        )
        self._base = self._model.get_base_model() if model.trainable == "lora" else self._model
        if model.head == "causal-lm":
            require_causal(self._base)
        self._trained = trainable_parameters(self._model, model)
        exact = _masters(self._trained, model)
        rounded_to(model.dtype, self._model)
        live = {name: parameter.data for name, parameter in self._trained.items()}
        self.parameters = Parameters(live, exact, seed=seed)
        self._forward = Forward(self._model, self._base, config=model, pad_id=pad_id, performance=performance)
        self._constants = constant_examples(tokenizer, model.head)
        self._stack, layers = plain_stack(self._model) or ("", [])
        self._lower = LowerLayers(layers)
        self._starts: dict[Block | None, int] = {None: self._start_below(None) if model.layers != "all" else 0}
        self._states = kept_states(
            self._lower, self._starts[None], self._forward, self._constants, performance.kept_states_gb
        )

    @property
    def parameter_count(self) -> int:
        return self.parameters.count

    @property
    def model_size(self) -> int:
        return sum(tensor.numel() for tensor in self._model.parameters())

    @torch.inference_mode()
    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        prepared = self.prepare(batch)
        losses_PB = np.empty((len(probes), len(batch)))
        if not prepared:  # an empty batch needs no forward pass
            return losses_PB
        blocks = [probe.direction.block for probe in probes]
        if unchecked := {*blocks} - self._starts.keys():  # the first block-local step: check all blocks that may come
            unchecked.update(set(self.parameters.blocks()) - self._starts.keys())
            self._starts |= {block: self._start_below(block) for block in unchecked}
        starts = [self._starts[block] for block in blocks]
        with self._lower.read_once(starts):
            if self._states is not None:
                self._states.give(prepared)
            for p in sorted(range(len(probes)), key=lambda p: -starts[p]):
                self.parameters.perturb(probes[p].direction, probes[p].scale)
                losses_PB[p] = losses_of(self.scores(prepared, len(batch), starts[p]), batch)
        return losses_PB

    @torch.inference_mode()
    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        self.parameters.settle()
        return losses_of(self.scores(self.prepare(batch), len(batch)), batch)

    @torch.inference_mode()
    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        self.parameters.settle()
        return best_options(self.scores(self.prepare(batch), len(batch)))

    @torch.inference_mode()
    def generate(self, batch: Sequence[Example], max_new_tokens: int) -> list[str]:
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
        self.parameters.add(update, momentum=momentum)

    @torch.inference_mode()
    def activation_basis(self, public: Sequence[Example], rank: int) -> Basis:
        self.parameters.settle()
        layers = layers_in_a_basis(self._model, self._trained)
        return input_basis(layers, self.prepare(public), self._forward.logits, rank)

    def gradient_basis(self, batches: Sequence[Sequence[Example]]) -> Basis:
        gradients = []
        with self.differentiable() as (_, trained):
            for batch in batches:
                self.row_losses(batch)[1].mean().backward()
                gradients.append(
                    {name: torch.zeros_like(of) if of.grad is None else of.grad.clone() for name, of in trained.items()}
                )
                for parameter in trained.values():
                    parameter.grad = None
        return gradient_basis(gradients)

    @torch.inference_mode()
    def use_basis(self, basis: Basis) -> None:
        if self._model is self._base:
            self.parameters.use_basis(basis)
            return
        first_factors = first_factors_of(self._model)
        for name, part in basis.parts.items():
            first_factors[name].weight.copy_(part.T)

    @torch.inference_mode()
    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        outputs = []
        for point in points:
            self.parameters.place(point)
            outputs.append(self._mean_logit(self._constants[0]))
        return outputs

    @torch.inference_mode()
    def public_answers(self) -> list[float]:
        self.parameters.settle()
        return [self._mean_logit(constant) for constant in self._constants]

    @torch.inference_mode()
    def reset(self) -> None:
        self.parameters.reset()

    def state_digest(self) -> str:
        return self.parameters.digest()

    @contextmanager
    def poisoned(self, spared: Collection[int]) -> Iterator[int]:
        token = token_outside({*spared, self._pad_id})
        hooks, states = poison(self._embeddings(), token), self._states
        self._states = None  # neither used nor made
        try:
            yield token
        finally:
            self._states = states
            for hook in hooks:
                hook.remove()

    @torch.inference_mode()
    def export(self, folder: Path) -> None:
        # trainable weights are written in the master's type, which may be finer than that of the computation
        live = [(parameter, parameter.data) for parameter in self._model.parameters()]
        if self._model is self._base:  # the others too: a file of two types would be read in one of them
            rounded_to("float32", self._model)
        for name, tensor in self.parameters.theta().items():
            self._trained[name].data = tensor
        try:
            # an adapter is saved without the embedding below it, which is the base model's
            self._model.save_pretrained(
                folder, **({} if self._model is self._base else {"save_embedding_layers": False})
            )
        finally:
            for parameter, tensor in live:
                parameter.data = tensor
        self._tokenizer.save_pretrained(folder)

    def close(self) -> None:
        self.__dict__.clear()  # others may still hold the evaluator, and the next model needs its memory

    def prepare(self, batch: Sequence[Example]) -> list[PackedBatch] | list[PaddedBatch]:
        """Return the forward passes that a batch needs."""
        return self._forward.prepare(batch)

    def scores(
        self, prepared: Sequence[PackedBatch | PaddedBatch], num_examples: int, start: int = 0
    ) -> list[np.ndarray]:
        """Return each example's scores under the live weights, float64 [options]: logits, or mean log-probabilities.

        start: number of the first layer that is not at θ.
        """
        rows = [row for batch in prepared for row in batch.rows]
        logits = (self._lower.read(batch, self._forward.logits, start) for batch in prepared)
        scores = [values for of, batch in zip(logits, prepared, strict=True) for values in row_scores(of, batch.rows)]
        return [np.concatenate(options) for options in option_scores(rows, scores, num_examples)]

    @torch.inference_mode()
    def _start_below(self, block: Block | None) -> int:
        """Return the lowest layer that moves of a block reach; 0 where reading from there gives other bits."""
        number = lowest_layer(self._stack, self._trained if block is None else block.names)
        start, batches = self._lower.count if number is None else number, self.prepare(self._constants)
        if not start:
            return 0
        with self._lower.read_once([start]):
            for sign in (1.0, -1.0):  # the second pass begins with states of the first
                self.parameters.perturb(Direction(0, 0, 0, "gaussian", block=block), sign * TEST_RADIUS)
                partial = [self._lower.read(batch, self._forward.logits, start) for batch in batches]
            if all(map(torch.equal, partial, map(self._forward.logits, batches))):
                return start
        if number is not None:  # embeddings have none, and move every layer
            LOGGER.warning("model.layers: the lower layers of this model are read again for each probe")
        return 0

    @contextmanager
    def differentiable(self) -> Iterator[tuple[Any, dict[str, torch.nn.Parameter]]]:
        """Give the model at θ, with gradients enabled, and name → trainable parameter."""
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

    def _embeddings(self) -> list[torch.nn.Module]:
        """Return the modules that read token ids: an encoder and a decoder may have one each, of the same weight."""
        first = self._model.get_input_embeddings()
        same = [module for module in self._model.modules() if getattr(module, "weight", None) is first.weight]
        return [first, *(module for module in same if isinstance(module, torch.nn.Embedding) and module is not first)]

    def _mean_logit(self, constant: Example) -> float:
        (batch,) = self.prepare([constant])
        return float(self._forward.logits(batch).double().mean())

    def row_losses(self, batch: Sequence[Example]) -> tuple[list[Row], torch.Tensor]:
        """Return the rows of a batch, longest first, and each example's loss, nats, float64 [len(batch)].

        This is one padded forward pass. Under `differentiable` the losses have a graph.
        """
        rows = self._forward.rows(batch)
        padded_rows = self._forward.padded(rows)
        return rows, loss_tensor(score_tensors(self._forward.logits(padded_rows), rows), rows, batch)


def _masters(trained: Mapping[str, torch.nn.Parameter], config: ModelConfig) -> dict[str, torch.Tensor]:
    """Return the weights in the master's type, and convert those of the model to the type that it computes in."""
    masters = {}
    for name, parameter in trained.items():  # one after the other, so that each loaded tensor is freed
        masters[name] = parameter.data.to(getattr(torch, config.master_dtype))
        parameter.data = masters[name].to(getattr(torch, config.dtype), copy=True)
    return masters
