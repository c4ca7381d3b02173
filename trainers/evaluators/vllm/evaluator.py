"""Losses by vLLM: the engine's kernels for forward passes, with weights that are moved in place.

What talks to the engine is here; what happens to weights and rows is in `vllm_worker`, next to them. The directions and
the master are those of the transformers evaluator, so a release log replays to the same weights with either.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, PreTrainedTokenizerBase

from trainers.config import ModelConfig, PerformanceConfig
from trainers.directions import WeightedDirections
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.scores import losses_of
from trainers.evaluators.vllm.engine import longest_row, start_engine, stop_engine
from trainers.evaluators.vllm.generation import generate_lines
from trainers.evaluators.vllm.parameters import VllmParameters
from trainers.evaluators.vllm.reference import reference_scores
from trainers.evaluators.vocabulary import constant_example, require_ids_fit


class VllmEvaluator:
    """A causal model in a vLLM engine as a `LossEvaluator`.

    The engine holds the model until `close`.

    Args:
        model: which model, which of its parameters train, and the type of number that it computes in.
        performance: micro-batch size and the engine's settings.
        tokenizer: reads generated tokens, and is exported with the model.
        num_labels: unused, as there are no classification heads here.
        seed: public key from which an adapter is initialised, and by which updates of a bfloat16 master are rounded.
        probe_rank: of the low-rank probes that are shown as adapters (`vllm_adapters.probe_rank`); 0 for none.

    Raises:
        ValueError: a head other than causal-lm, or a model whose weights cannot be moved inside the engine.
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
        shape = _shape(model)
        require_ids_fit(tokenizer, shape.get_text_config().vocab_size)
        self._tokenizer, self._reference = tokenizer, performance.vllm.scoring == "reference"
        self._constant = constant_example(tokenizer, model.head)
        self._longest = longest_row(performance, shape)
        self._places = getattr(shape.get_text_config(), "max_position_embeddings", None)
        self._engine = start_engine(model, performance, shape, probe_rank=probe_rank)
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
            )
            if_refused.pop_all()
        self.parameters = VllmParameters(self._rpc)

    def close(self) -> None:
        """Stop the engine; nothing else may be called after."""
        stop_engine(self._engine)

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters d."""
        return self.parameters.count

    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        """Return the loss of every example at every probe, nats, float64 [len(probes), len(batch)]; θ is unchanged."""
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
        """Return the loss of every example at θ, nats, float64 [len(batch)]."""
        return losses_of(self._scores(batch), batch)

    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        """Return the most likely option of every example at θ, int64 [len(batch)]."""
        return np.array([int(np.argmax(of_example)) for of_example in self._scores(batch)], dtype=np.int64)

    def generate(self, batch: Sequence[Example], max_new_tokens: int) -> list[str]:
        """Return each prompt's likeliest continuation at θ, token by token, to the end of its line."""
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
        """Return the mean logit for a row of one constant token at each point; θ is unchanged."""
        return self._call("outputs", self._constant, list(points)) if points else []

    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        """Move θ to θ + Σ coefficient · z(direction), in the order given, or by the velocity (`Parameters.add`)."""
        self._rpc("zo_parameters", "add", tuple(update), momentum=momentum)

    def reset(self) -> None:
        """Set θ back to the base weights, and forget mask, anchor and velocity."""
        self._rpc("zo_parameters", "reset")

    def state_digest(self) -> str:
        """Return a hash over names, shapes and bits of θ: equal digests mean equal weights."""
        return self._rpc("zo_parameters", "digest")

    def export(self, folder: Path) -> None:
        """Write the model at θ with its tokenizer, as `from_pretrained` reads it (an adapter folder for LoRA)."""
        self._call("export", folder)
        self._tokenizer.save_pretrained(folder)

    def _scores(self, batch: Sequence[Example]) -> list[np.ndarray]:
        """Return each example's scores at θ, float64 [options]."""
        if not batch:
            return []
        self._require_positions(batch)
        return self._reference_scores(batch, None)[0] if self._reference else self._call("scores", list(batch))

    def _reference_scores(self, batch: Sequence[Example], probes: Sequence[Probe] | None) -> list[list[np.ndarray]]:
        """Return scores at as many probes as the engine can see at once, the first ones, or at θ."""
        return reference_scores(self._engine, batch, self._call("show", probes and list(probes)))

    def _require_positions(self, batch: Sequence[Example]) -> None:
        """Refuse a row that has no place, here and not inside the engine; how long it is is not told.

        Raises:
            IndexError: the model has not so many positions.
            ValueError: it has, but one pass is smaller.
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
        """Call all workers and return what the first one says.

        Raises:
            ValueError, OSError: a worker refuses to do it.
        """
        from trainers.evaluators.vllm.worker import Refusal

        answers = self._engine.collective_rpc(method, args=arguments, kwargs=named)
        if refused := [answer for answer in answers if isinstance(answer, Refusal)]:
            raise refused[0].error
        return answers[0]


def _shape(model: ModelConfig) -> Any:
    """Return the Hugging Face configuration of a model that the engine can be asked about."""
    if model.head != "causal-lm":
        raise ValueError(
            f"model.head {model.head}: vLLM serves causal-lm alone. Use performance.evaluator transformers."
        )
    if model.trainable == "lora" and "lm_head" in (model.lora.target_modules or []):
        raise ValueError(
            "lora.target_modules: vLLM's adapters of lm_head cannot be relied on. Leave lm_head out, or use "
            "performance.evaluator transformers."
        )
    try:
        return AutoConfig.from_pretrained(model.path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"model.path: no causal-lm model could be loaded from {model.path!r}: {reason}") from error
