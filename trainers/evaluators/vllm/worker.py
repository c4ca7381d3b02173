"""The part of the vLLM evaluator that runs in vLLM's worker, where the weights are.

One call does a whole step: it writes each probe's weights, reads the rows and returns losses. No tensor of the model's
size leaves the worker. θ is a `Parameters`, as with transformers, under Hugging Face names and in Hugging Face shapes:
directions, masks, anchors, velocities and exports agree to the last bit. With several devices each worker holds the
whole θ, and writes its own part into the engine.

Importing this module stops vLLM from packing linear weights on CPUs: a packed weight is a copy that no perturbation
reaches. It replaces kernels that would be missing (`cpu_kernels`) or wrong (`hopper`). In a process of an engine's own,
it lets this process end with the one that started the engine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial, wraps
from itertools import islice
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle
from vllm import _custom_ops
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.lora.layers import VocabParallelEmbeddingWithLoRA
from vllm.model_executor.layers import utils as layer_utils
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

from trainers.config import ModelConfig
from trainers.directions.basis import Basis
from trainers.errors import note_origin
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.loading import load_model, rounded_to, trainable_parameters
from trainers.evaluators.lora_factors import first_factors_of
from trainers.evaluators.parameters import Parameters
from trainers.evaluators.parent import end_with_parent
from trainers.evaluators.poison import poison
from trainers.evaluators.rows import FIXED_TOKENS, rows_of
from trainers.evaluators.scores import losses_of, option_scores
from trainers.evaluators.vllm.cache import zero_new_blocks
from trainers.evaluators.vllm.cpu_kernels import use_cpu_kernels
from trainers.evaluators.vllm.graphs import cuda_graphs
from trainers.evaluators.vllm.hopper import expand_in_one_stage
from trainers.evaluators.vllm.low_rank import LowRankWeights
from trainers.evaluators.vllm.scoring import Scorer, Visit
from trainers.evaluators.vllm.weights import AdapterWeights, FullWeights, Shown

use_cpu_kernels()
expand_in_one_stage()
_custom_ops._supports_onednn = False
layer_utils.check_cpu_sgl_kernel = lambda *_: False
if current_process().name.startswith("VllmWorker"):  # a process of its own: it would outlive an engine that is killed
    end_with_parent()
_EMBEDDINGS = (VocabParallelEmbedding, VocabParallelEmbeddingWithLoRA)


@dataclass(frozen=True)
class Refusal:
    """A worker's answer in place of an error: vLLM would take an exception for a broken worker."""

    error: ValueError | OSError


def answering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a worker's method answer with a `Refusal` for an error, and compute without gradients."""

    @wraps(method)
    def answer(*arguments: Any, **named: Any) -> Any:
        try:
            with torch.inference_mode():
                return method(*arguments, **named)
        except OSError as error:
            return Refusal(OSError(error.errno, error.strerror or str(error)))
        except ValueError as error:
            refusal = Refusal(ValueError(str(error)))  # a plain ValueError, which any process can unpickle
            note_origin(refusal.error, error)
            return refusal

    return answer


class ZoWorker:
    """Methods that vLLM adds to its worker, and that `LLM.collective_rpc` calls. Their names begin with `zo_`."""

    model_runner: Any

    @answering
    def zo_open(self, **arguments: Any) -> int:
        """Open the `WorkerModel`; return the number of parameters of the whole model."""
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
    """A model in vLLM's worker whose weights are moved in place.

    On a worker without logits, losses, scores and outputs are None.

    Args:
        runner: vLLM's model runner.
        config: fields of the `ModelConfig`.
        pad_id: padding token, for the Hugging Face model.
        seed: public key that initialises an adapter, and rounds updates of a bfloat16 master.
        max_tokens: largest pass, in tokens.
        batch_invariant: whether the engine's kernels round a row alike beside any neighbours.
        probe_rank: largest rank of low-rank probes in slots; 0 if the engine has no slots for probes.
        graphs: whether passes over the same rows are replayed as CUDA graphs.
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
        graphs: bool,
    ) -> None:
        self._config, self._runner = ModelConfig.model_validate(config), runner
        self._hooks: list[RemovableHandle] = []
        self._trial, self._poisoned = 0, dict[int, int | None]()
        self._load = partial(load_model, self._config, num_labels=0, pad_token_id=pad_id, seed=seed, device="cpu")
        loaded = self._load()
        self.size = sum(tensor.numel() for tensor in loaded.parameters())
        trained = trainable_parameters(loaded, self._config)
        for tensor in trained.values():  # one after the other, so that each loaded tensor is freed
            tensor.data = tensor.data.to(getattr(torch, self._config.master_dtype))
        weights = {name: tensor.data.to(runner.device) for name, tensor in trained.items()}
        fixed = first_factors_of(loaded) if self._config.lora.train == "b" else {}
        self._weights = _weights(
            runner, weights, self._config, seed, probe_rank, {name: layer.weight.data for name, layer in fixed.items()}
        )
        self._of_trial = {0: self._weights}
        zero_new_blocks(runner)
        self._scorer = Scorer(
            runner,
            max_tokens=max_tokens,
            fixed_tokens=_fixed_tokens(runner, max_tokens, batch_invariant),
            capture=cuda_graphs(runner.device) if graphs else None,
        )

    @property
    def parameters(self) -> Parameters:
        """θ, of the selected trial."""
        return self._weights.parameters

    def join(self, trial: int) -> None:
        """Open an adapter for a further trial, at its initial values; all read the same base weights."""
        assert isinstance(self._of_trial[0], AdapterWeights)
        self._of_trial[trial] = self._of_trial[0].another()

    def leave(self, trial: int) -> None:
        """Close a trial's adapter."""
        self._of_trial.pop(trial, None)
        self._poisoned.pop(trial, None)

    def select(self, trial: int) -> None:
        """Let the calls that follow be a trial's: about its θ, with the token that it made NaN."""
        self._trial, self._weights = trial, self._of_trial[trial]
        self._hook(self._poisoned.get(trial))

    def probe_together(
        self, parts: Sequence[tuple[int, Sequence[Example], Sequence[Probe]]]
    ) -> list[np.ndarray] | None:
        """Return each trial's losses as `probe` does; the probes of all trials are one batch, each in its own slot."""
        read, first = [], 0
        for trial, batch, probes in parts:
            weights = self._of_trial[trial]
            assert isinstance(weights, AdapterWeights)
            read.append((rows_of(batch), weights.filled(probes, first)))
            first += len(probes)
        visits = [Visit(row, adapter) for rows, adapters in read for adapter in adapters for row in rows]
        scores = self._scorer.scores(visits)
        if not scores:
            return None
        losses, rest = [], iter(scores)
        for (rows, adapters), (_, batch, _) in zip(read, parts, strict=True):
            of_probes = [option_scores(rows, list(islice(rest, len(rows))), len(batch)) for _ in adapters]
            losses.append(np.stack([losses_of([*map(np.concatenate, of)], batch) for of in of_probes]))
        return losses

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
        outputs = []
        for shown in self._weights.shown([partial(self.parameters.place, point) for point in points]):
            logits = self._scorer.logits([Visit(row, adapter) for _, adapter in shown])
            outputs += [] if logits is None else logits.double().mean(dim=-1).tolist()
        return outputs or None

    def show(self, probes: Sequence[Probe] | None) -> list[Any]:
        """Write θ, or as many probes as the engine reads at once; return the adapter of each."""
        shown = self._weights.shown([self.parameters.settle]) if probes is None else self._weights.probed(probes)
        return [adapter for _, adapter in next(shown)]

    def poison(self, token: int | None) -> None:
        """Make the embedding of a token NaN, for the selected trial; None ends it."""
        self._poisoned[self._trial] = token
        self._hook(token)

    def export(self, folder: Path) -> None:
        """Write the model at θ, or its adapter, in the master's type, on the first worker."""
        if get_tensor_model_parallel_rank():
            return
        model = self._load()
        rounded_to(self._config.dtype, model)  # frozen weights are exported with the bits of the computation
        rounded_to("float32", model)
        for name, tensor in trainable_parameters(model, self._config).items():
            tensor.data = self.parameters.theta()[name].cpu()
        if isinstance(self._weights, AdapterWeights):
            first_factors = first_factors_of(model)
            for name, tensor in self._weights.fixed().items():
                first_factors[name].weight.data = tensor.cpu().float()
        model.save_pretrained(folder)

    def use_basis(self, basis: Basis) -> None:
        """Make a basis the fixed A of the adapter."""
        assert isinstance(self._weights, AdapterWeights)
        self._weights.use_basis(basis)

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Write θ and its state to a file on the first worker."""
        if not get_tensor_model_parallel_rank():
            self.parameters.save(path, metadata)

    def _hook(self, token: int | None) -> None:
        for hook in self._hooks:
            hook.remove()
        modules = [module for module in self._runner.model.modules() if isinstance(module, _EMBEDDINGS)]
        self._hooks = [] if token is None else poison(modules, token)

    def _scores(self, batch: Sequence[Example], count: int, views: Iterator[Shown]) -> list[list[np.ndarray]] | None:
        """Return each example's scores in each of `count` views, float64 [options]; None without logits."""
        rows = rows_of(batch)
        by_view: list[list[np.ndarray]] = [[]] * count
        with self._scorer.repeating() if count > 1 else nullcontext():
            for shown in views:
                scores = self._scorer.scores([Visit(row, adapter) for _, adapter in shown for row in rows])
                if not scores:
                    continue  # no return: every worker must read every view
                for place, (number, _) in enumerate(shown):
                    of_rows = scores[place * len(rows) : (place + 1) * len(rows)]
                    by_view[number] = [np.concatenate(options) for options in option_scores(rows, of_rows, len(batch))]
        return by_view if all(by_view) else None


def _weights(
    runner: Any,
    weights: Mapping[str, torch.Tensor],
    config: ModelConfig,
    seed: int,
    probe_rank: int,
    fixed: Mapping[str, torch.Tensor],
) -> FullWeights | AdapterWeights:
    if config.trainable == "lora":
        return AdapterWeights(runner, weights, config, seed, fixed)
    return LowRankWeights(runner, weights, seed, probe_rank) if probe_rank else FullWeights(runner, weights, seed)


def _fixed_tokens(runner: Any, max_tokens: int, batch_invariant: bool) -> int | None:
    """Return the size of every pass where it would decide how a row is rounded, or None."""
    if batch_invariant or runner.dtype == torch.float32:
        return None
    return min(max_tokens, FIXED_TOKENS) if runner.device.type == "cpu" else max_tokens  # a GPU wastes small passes
