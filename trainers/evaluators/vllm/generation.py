"""Greedy continuations by the engine, each to the end of its line (`generation` says what that is)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from trainers.evaluators.answer_line import first_line, has_ended

_FIRST_ROUND = 8  # tokens; the next rounds are twice as long each


def generate_lines(
    engine: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[int, ...]],
    *,
    max_new: int,
    longest: int,
    adapter: Any,
) -> list[str]:
    """Return the likeliest continuation of each prompt, one line of at most `max_new` tokens, without blanks around it.

    The engine does not know where a line ends, so it writes some tokens for all prompts, then more for those that have
    not come to an end: an answer of few tokens costs few.

    Args:
        engine: vLLM's `LLM`, at θ.
        tokenizer: of the model.
        prompts: token ids, each of at most `longest`; one of so many has room for no answer.
        max_new: tokens to add at most; fewer where the model has no more places.
        longest: tokens that the engine has places for.
        adapter: that the engine reads the prompts with, or None.
    """
    from vllm import SamplingParams

    found: list[list[int]] = [[] for _ in prompts]
    open_rows = [row for row, prompt in enumerate(prompts) if _room(prompt, [], max_new, longest) > 0]
    step = _FIRST_ROUND
    while open_rows:
        texts = [{"prompt_token_ids": [*prompts[row], *found[row]]} for row in open_rows]
        wanted = [min(step, _room(prompts[row], found[row], max_new, longest)) for row in open_rows]
        sampling = [SamplingParams(max_tokens=n, temperature=0.0, ignore_eos=True, detokenize=False) for n in wanted]
        outputs = engine.generate(texts, sampling, lora_request=adapter, use_tqdm=False)
        for row, output in zip(open_rows, outputs, strict=True):
            found[row] += output.outputs[0].token_ids
        open_rows = [
            row
            for row in open_rows
            if _room(prompts[row], found[row], max_new, longest) and not has_ended(tokenizer, found[row])
        ]
        step *= 2
    return [first_line(tokenizer, ids) for ids in found]


def _room(prompt: Sequence[int], found: Sequence[int], max_new: int, longest: int) -> int:
    return min(max_new, longest - len(prompt)) - len(found)
