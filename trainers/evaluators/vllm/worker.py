"""The part of the vLLM evaluator that lives in vLLM's worker, where the weights are.

One call does a whole step: it writes each probe's weights, reads the rows and sends losses back; no tensor of the
model's size ever leaves the worker. θ is kept by the same `Parameters` as with transformers, under Hugging Face names
and in Hugging Face shapes, so that directions, masks, anchors, velocities and exports are the same to the last bit.

Importing this module keeps vLLM from packing linear weights on CPUs: a packed weight is a copy that no perturbation
reaches. Over several devices each worker keeps the whole θ and writes its own part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vllm import _custom_ops
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.model_executor.layers import utils as layer_utils

from trainers.config import ModelConfig
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.loading import load_model, rounded_to, trainable_parameters
from trainers.evaluators.rows import FIXED_TOKENS, rows_of
from trainers.evaluators.scores import losses_of
from trainers.evaluators.vllm.low_rank import LowRankWeights
from trainers.evaluators.vllm.scoring import Scorer, Visit
from trainers.evaluators.vllm.weights import AdapterWeights, FullWeights, Shown

_custom_ops._supports_onednn = False
layer_utils.check_cpu_sgl_kernel = lambda *_: False


@dataclass(frozen=True)
class Refusal:
    """What a worker answers instead of raising an error, of which another process would see a broken worker."""

    error: ValueError | OSError


def answering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a worker's method answer with a `Refusal`, and compute without gradients."""

    @wraps(method)
    def answer(*arguments: Any, **named: Any) -> Any:
        try:
            with torch.inference_mode():
                return method(*arguments, **named)
        except OSError as error:
            return Refusal(OSError(error.errno, error.strerror or str(error)))
        except ValueError as error:
            return Refusal(ValueError(str(error)))  # a plain one, which any process can unpickle

    return answer


class ZoWorker:
    """What vLLM's worker learns: methods that begin with `zo_`, to be called by `LLM.collective_rpc`."""

    model_runner: Any

    @answering
    def zo_open(self, **arguments: Any) -> int:
        """Take over the engine's weights (`WorkerModel`); return the number of parameters of the whole model."""
        self.zo_model = WorkerModel(self.model_runner, **arguments)
        return self.zo_model.size

    @answering
    def zo_call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of the model."""
        return getattr(self.zo_model, method)(*arguments, **named)

    @answering
    def zo_parameters(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of the model's parameters."""
        return getattr(self.zo_model.parameters, method)(*arguments, **named)


class WorkerModel:
    """A model of vLLM's whose weights are moved in place.

    On a worker that gathers no logits, losses, scores and outputs are None.

    Args:
        runner: vLLM's model runner.
        config: fields of the `ModelConfig`.
        pad_id: padding token, for the Hugging Face model.
        seed: public key from which an adapter is initialised, and by which updates of a bfloat16 master are rounded.
        max_tokens: largest pass, tokens.
        batch_invariant: whether the engine's kernels round a row alike whatever its neighbours.
        probe_rank: of the low-rank probes that slots have room for; 0 where the engine has no slots for them.
    """

    def __init__(
        self,
        runner: Any,
        *,
        config: dict[str, Any],
        pad_id: int,
        seed: int,
        max_tokens: int,
        batch_invariant: bool,
        probe_rank: int,
    ) -> None:
        self._config = ModelConfig.model_validate(config)
        self._load = partial(load_model, self._config, num_labels=0, pad_token_id=pad_id, seed=seed, device="cpu")
        loaded = self._load()
        self.size = sum(tensor.numel() for tensor in loaded.parameters())
        trained = trainable_parameters(loaded, self._config)
        for tensor in trained.values():  # one after the other: what was loaded is freed on the way
            tensor.data = tensor.data.to(getattr(torch, self._config.master_dtype))
        weights = {name: tensor.data.to(runner.device) for name, tensor in trained.items()}
        self._weights = _weights(runner, weights, self._config, seed, probe_rank)
        self.parameters = self._weights.parameters
        self._scorer = Scorer(
            runner, max_tokens=max_tokens, fixed_tokens=_fixed_tokens(runner, max_tokens, batch_invariant)
        )

    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray | None:
        """Return the loss of every example at every probe, float64 [len(probes), len(batch)]."""
        scores = self._scores(batch, len(probes), self._weights.probed(probes))
        return None if scores is None else np.stack([losses_of(of_probe, batch) for of_probe in scores])

    def scores(self, batch: Sequence[Example]) -> list[np.ndarray] | None:
        """Return the scores of every example at θ, float64 [options]."""
        scores = self._scores(batch, 1, self._weights.shown([self.parameters.settle]))
        return None if scores is None else scores[0]

    def count(self) -> int:
        """Return the number of parameters that directions move."""
        return self.parameters.count

    def outputs(self, constant: Example, points: Sequence[OutputPoint]) -> list[float] | None:
        """Return the mean logit for a constant row at each point."""
        (row,) = rows_of([constant])
        found = []
        for shown in self._weights.shown([partial(self.parameters.place, point) for point in points]):
            logits = self._scorer.logits([Visit(row, adapter) for _, adapter in shown])
            found += [] if logits is None else logits.double().mean(dim=-1).tolist()
        return found or None

    def show(self, probes: Sequence[Probe] | None) -> list[Any]:
        """Write θ, or as many probes as the engine can see at once; return the adapter that has each."""
        shown = self._weights.shown([self.parameters.settle]) if probes is None else self._weights.probed(probes)
        return [adapter for _, adapter in next(shown)]

    def export(self, folder: Path) -> None:
        """Write the model at θ, or its adapter, in the master's type, for `from_pretrained`; the first worker does."""
        if get_tensor_model_parallel_rank():
            return
        model = self._load()
        rounded_to(self._config.dtype, model)  # what does not train is written as it was computed with
        rounded_to("float32", model)
        for name, tensor in trainable_parameters(model, self._config).items():
            tensor.data = self.parameters.theta()[name].cpu()
        model.save_pretrained(folder)

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Write θ and what belongs to it to a file; the first worker does."""
        if not get_tensor_model_parallel_rank():
            self.parameters.save(path, metadata)

    def _scores(self, batch: Sequence[Example], count: int, views: Iterator[Shown]) -> list[list[np.ndarray]] | None:
        """Return each example's scores in each of `count` views, float64 [options]; None without gathered logits."""
        rows = rows_of(batch)
        found: list[list[dict[int, np.ndarray]]] = [[{} for _ in batch] for _ in range(count)]
        for shown in views:
            visits = [(number, Visit(row, adapter)) for number, adapter in shown for row in rows]
            scores = self._scorer.scores([visit for _, visit in visits])
            if not scores:
                found = []
                continue
            for (number, visit), values in zip(visits, scores, strict=True):
                found[number][visit.row.example][visit.row.option] = values
        return [
            [np.concatenate([options[index] for index in sorted(options)]) for options in examples]
            for examples in found
        ] or None


def _weights(
    runner: Any, weights: Mapping[str, torch.Tensor], config: ModelConfig, seed: int, probe_rank: int
) -> FullWeights | AdapterWeights:
    if config.trainable == "lora":
        return AdapterWeights(runner, weights, config, seed)
    return LowRankWeights(runner, weights, seed, probe_rank) if probe_rank else FullWeights(runner, weights, seed)


def _fixed_tokens(runner: Any, max_tokens: int, batch_invariant: bool) -> int | None:
    """Return the size of every pass where it would decide how a row is rounded, or None."""
    if batch_invariant or runner.dtype == torch.float32:
        return None
    return min(max_tokens, FIXED_TOKENS) if runner.device.type == "cpu" else max_tokens  # a GPU wastes small passes
