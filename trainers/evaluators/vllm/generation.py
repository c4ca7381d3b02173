"""Greedy continuations by the engine, each to the end of its line (`answer_line`)."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from trainers.evaluators.answer_line import first_line, has_ended

_FIRST_ROUND = 8  # tokens; each further round is twice as long


def generate_lines(
    engine: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[int, ...]],
    *,
    max_new: int,
    longest: int,
    adapter: Any,
) -> list[str]:
    """Return the greedy continuation of each prompt: one line of at most `max_new` tokens, without blanks around it.

    The engine does not know where a line ends. It writes some tokens for all prompts, then more for those that are not
    complete: a short answer costs little.

    Args:
        engine: vLLM's `LLM`, at θ.
        tokenizer: of the model.
        prompts: token ids, each at most `longest`; a prompt of that length has no answer.
        max_new: largest number of new tokens; a row never grows beyond `longest`.
        longest: length of the longest row that the engine reads.
        adapter: that the engine reads the prompts with, or None.
    """
    from vllm import SamplingParams

    new_ids: list[list[int]] = [[] for _ in prompts]
    open_rows = [row for row, prompt in enumerate(prompts) if _room(prompt, [], max_new, longest) > 0]
    step = _FIRST_ROUND
    while open_rows:
        texts = [{"prompt_token_ids": [*prompts[row], *new_ids[row]]} for row in open_rows]
        wanted = [min(step, _room(prompts[row], new_ids[row], max_new, longest)) for row in open_rows]
        sampling = [SamplingParams(max_tokens=n, temperature=0.0, ignore_eos=True, detokenize=False) for n in wanted]
        outputs = engine.generate(texts, sampling, lora_request=adapter, use_tqdm=False)
        for row, output in zip(open_rows, outputs, strict=True):
            new_ids[row] += output.outputs[0].token_ids
        open_rows = [
            row
            for row in open_rows
            if _room(prompts[row], new_ids[row], max_new, longest) and not has_ended(tokenizer, new_ids[row])
        ]
        step *= 2
    return [first_line(tokenizer, ids) for ids in new_ids]


def _room(prompt: Sequence[int], new_ids: Sequence[int], max_new: int, longest: int) -> int:
    return min(max_new, longest - len(prompt)) - len(new_ids)
