"""Scores by the engine's own `prompt_logprobs`: slow, but independent of `scoring`, which it checks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainers.evaluators.base import Example


def reference_scores(engine: Any, batch: Sequence[Example], adapters: Sequence[Any]) -> list[list[np.ndarray]]:
    """Return, for each adapter, the mean log-probability of every option of every example, float64 [options].

    Args:
        engine: vLLM's `LLM`, with the weights written.
        batch: examples of a causal model.
        adapters: to read the batch with, all in one call; None is the model itself.
    """
    from vllm import SamplingParams

    options = [(example.prompt_ids, option) for example in batch for option in example.option_ids]
    prompts = [{"prompt_token_ids": [*prompt, *option]} for prompt, option in options]
    sampling = SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False, flat_logprobs=True, ignore_eos=True
    )
    outputs = engine.generate(
        prompts * len(adapters),
        sampling,
        lora_request=[adapter for adapter in adapters for _ in prompts] if any(adapters) else None,
        use_tqdm=False,
    )
    wanted = [(prompt["prompt_token_ids"], len(option)) for prompt, (_, option) in zip(prompts, options, strict=True)]
    scores = iter(_score(output, *of) for output, of in zip(outputs, wanted * len(adapters), strict=True))
    return [[np.array([next(scores) for _ in example.option_ids]) for example in batch] for _ in adapters]


def _score(output: Any, ids: list[int], num_targets: int) -> float:
    of_tokens = output.prompt_logprobs
    assert output.prompt_token_ids == ids
    assert list(of_tokens.token_ids) == ids[1:]  # the first token has no log-probability
    assert not output.num_cached_tokens
    return float(np.mean(np.array(of_tokens.logprobs[-num_targets:], dtype=np.float64)))
