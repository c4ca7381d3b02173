"""The loss evaluator by vLLM: the engine's kernels for forward passes, with weights that are moved in place.

This file calls the engine. `worker` holds weights and rows, inside the engine's workers. Directions and master are
those of the transformers evaluator, so a release log replays to the same weights with either.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, PreTrainedTokenizerBase

from trainers.config import ModelConfig, PerformanceConfig
from trainers.directions import WeightedDirections
from trainers.directions.basis import Basis
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.poison import token_outside
from trainers.evaluators.scores import best_options, losses_of
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.evaluators.vllm.engine import longest_row, start_engine, stop_engine
from trainers.evaluators.vllm.generation import generate_lines
from trainers.evaluators.vllm.parameters import VllmParameters
from trainers.evaluators.vllm.reference import reference_scores
from trainers.evaluators.vocabulary import constant_examples


class VllmEvaluator:
    """A `LossEvaluator` of a causal model that `checks.require_supported` accepts. `close` frees the model.

    Args:
        model: path of the model, its trainable parameters, and its type of number.
        performance: micro-batch size and the engine's settings.
        tokenizer: reads generated tokens, and is exported with the model.
        num_labels: ignored, as vLLM serves no classification head.
        seed: public key that initialises an adapter, and rounds updates of a bfloat16 master.
        probe_rank: rank of the low-rank probes that are read as adapters (`adapters.probe_rank`); 0 if there are none.

    Raises:
        ValueError: the weights of the model cannot be moved inside the engine.
    """

    def __init__(
        self,
        model: ModelConfig,
        performance: PerformanceConfig,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_labels: int,
        seed: int,
        probe_rank: int = 0,
    ) -> None:
        del num_labels
        shape = AutoConfig.from_pretrained(model.path, trust_remote_code=False)
        self._model, self._performance, self._seed = model, performance, seed
        self._tokenizer, self._reference = tokenizer, performance.vllm.scoring == "reference"
        self._constants = constant_examples(tokenizer, model.head)
        self._longest = longest_row(performance, shape)
        self._places = getattr(shape.get_text_config(), "max_position_embeddings", None)
        self._engine: Any = start_engine(model, performance, shape, probe_rank=probe_rank)
        with ExitStack() as if_refused:
            if_refused.callback(self.close)
            self.model_size: int = self._rpc(
                "zo_open",
                config=model.model_dump(),
                pad_id=tokenizer.pad_token_id,
                seed=seed,
                max_tokens=performance.micro_batch_tokens,
                batch_invariant=performance.vllm.batch_invariant,
                probe_rank=probe_rank,
                graphs=performance.vllm.graphs,
            )
            if_refused.pop_all()
        self.parameters = VllmParameters(self._rpc)

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            stop_engine(engine)

    @property
    def parameter_count(self) -> int:
        return self.parameters.count

    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        if not (batch and probes):
            return np.empty((len(probes), len(batch)))
        self._require_positions(batch)
        if not self._reference:
            return self._call("probe", list(batch), list(probes))
        scores: list[list[np.ndarray]] = []
        while len(scores) < len(probes):
            scores += self._reference_scores(batch, probes[len(scores) :])
        return np.stack([losses_of(of_probe, batch) for of_probe in scores])

    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        return losses_of(self._scores(batch), batch)

    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        return best_options(self._scores(batch))

    def generate(self, batch: Sequence[Example], max_new_tokens: int) -> list[str]:
        self._require_positions(batch)
        (adapter,) = self._call("show", None)
        return generate_lines(
            self._engine,
            self._tokenizer,
            [example.prompt_ids for example in batch],
            max_new=max_new_tokens,
            longest=self._longest,
            adapter=adapter,
        )

    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        return self._call("outputs", self._constants[0], list(points)) if points else []

    def public_answers(self) -> list[float]:
        return [self._call("outputs", constant, [OutputPoint(())])[0] for constant in self._constants]

    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        self._rpc("zo_parameters", "add", tuple(update), momentum=momentum)

    def activation_basis(self, public: Sequence[Example], rank: int) -> Basis:
        """Read public text by transformers on the CPU, at the base weights: only an adapter's A is made here."""
        on_cpu = self._performance.model_copy(update={"device": "cpu"})
        reading = TransformersEvaluator(self._model, on_cpu, self._tokenizer, num_labels=0, seed=self._seed)
        with closing(reading):
            return reading.activation_basis(public, rank)

    def gradient_basis(self, batches: Sequence[Sequence[Example]]) -> Basis:
        raise ValueError("performance.evaluator: vllm has no gradients: use transformers")

    def use_basis(self, basis: Basis) -> None:
        self._call("use_basis", basis)

    def reset(self) -> None:
        self._rpc("zo_parameters", "reset")

    def state_digest(self) -> str:
        return self._rpc("zo_parameters", "digest")

    @contextmanager
    def poisoned(self, spared: Collection[int]) -> Iterator[int]:
        token = token_outside(spared)
        self._call("poison", token)
        try:
            yield token
        finally:
            self._call("poison", None)

    def export(self, folder: Path) -> None:
        self._call("export", folder.absolute())
        self._tokenizer.save_pretrained(folder)

    def _scores(self, batch: Sequence[Example]) -> list[np.ndarray]:
        """Return each example's scores at θ, float64 [options]."""
        if not batch:
            return []
        self._require_positions(batch)
        return self._reference_scores(batch, None)[0] if self._reference else self._call("scores", list(batch))

    def _reference_scores(self, batch: Sequence[Example], probes: Sequence[Probe] | None) -> list[list[np.ndarray]]:
        """Return scores at the first probes, as many as the engine can read at once, or at θ (None)."""
        return reference_scores(self._engine, batch, self._call("show", probes and list(probes)))

    def _require_positions(self, batch: Sequence[Example]) -> None:
        """Check that the longest row fits, outside of the engine. The errors do not say how long the row is.

        Raises:
            IndexError: the model has too few positions.
            ValueError: one pass of the engine is too small.
        """
        longest = max((len(of.prompt_ids) + max(map(len, of.option_ids)) - 1 for of in batch), default=0)
        if self._places and longest > self._places:
            raise IndexError(f"a row is longer than the {self._places} positions of the model")
        if longest + self._reference > self._longest:
            raise ValueError(
                f"performance.micro_batch_tokens: a row is longer than the {self._longest} tokens that the engine "
                "reads at once. Raise it, or lower task.max_tokens."
            )

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._rpc("zo_call", method, *arguments)

    def _rpc(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call all workers, and return the first one's answer.

        Raises:
            ValueError, OSError: a worker refused.
        """
        from trainers.evaluators.vllm.worker import Refusal

        answers = self._engine.collective_rpc(method, args=arguments, kwargs=named)
        if refused := [answer for answer in answers if isinstance(answer, Refusal)]:
            raise refused[0].error
        return answers[0]
