"""Greedy continuations by transformers.

One forward pass reads the prompts, padded on the left. Each further token of all rows takes one pass over the cached
keys and values.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from trainers.evaluators.answer_line import first_line, has_ended
from trainers.evaluators.rows import Row
from trainers.evaluators.transformers.padding import Filling, PaddedBatch, pad
from trainers.evaluators.transformers.readout import last_places


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[int, ...]],
    *,
    max_new: int,
    max_tokens: int,
    accepts: set[str],
) -> list[str]:
    """Return the greedy continuation of each prompt: one line of at most `max_new` tokens, without blanks around it.

    Args:
        model: causal, with an attention that handles padding.
        tokenizer: of the model, with a padding token.
        prompts: token ids.
        max_new: largest number of new tokens.
        max_tokens: largest padded size of one pass over prompts.
        accepts: names of the arguments of the model's forward pass.
    """
    rows = [Row(number, 0, prompt, (), options_share_place=False) for number, prompt in enumerate(prompts)]
    rows.sort(key=lambda row: len(row.ids), reverse=True)
    assert isinstance(tokenizer.pad_token_id, int)
    texts = [""] * len(rows)
    filling = Filling(tokenizer.pad_token_id, left=True, first_position=0, device=model.device)
    for batch in pad(rows, filling, max_tokens=max_tokens):
        for row, ids in zip(batch.rows, _continue(model, tokenizer, batch, max_new, accepts), strict=True):
            texts[row.example] = first_line(tokenizer, ids)
    return texts


@contextmanager
def standard_attention(base: Any) -> Iterator[None]:
    """Switch a model from packed attention to the library's own within a block."""
    before = base.config._attn_implementation
    base.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        base.set_attn_implementation(before)


def _continue(
    model: Any, tokenizer: PreTrainedTokenizerBase, batch: PaddedBatch, max_new: int, accepts: set[str]
) -> list[list[int]]:
    """Return the new tokens of each row, until all rows are complete."""
    mask_RL, positions_R1 = batch.attention_mask_RL, batch.position_ids_RL[:, -1:]
    new_ids: list[list[int]] = [[] for _ in batch.rows]
    read, cache = batch.inputs(accepts), None
    last_only = {"logits_to_keep": last_places(1, model)} if "logits_to_keep" in accepts else {}
    for _ in range(max_new):
        answer = model(**read, past_key_values=cache, use_cache=True, **last_only)
        cache, next_R = answer.past_key_values, answer.logits[:, -1].argmax(dim=-1)
        for ids, token in zip(new_ids, next_R.tolist(), strict=True):
            ids.append(token)
        if all(has_ended(tokenizer, ids) for ids in new_ids):
            break
        positions_R1 = positions_R1 + 1
        mask_RL = torch.cat([mask_RL, torch.ones_like(mask_RL[:, :1])], dim=1)
        read = {"input_ids": next_R[:, None], "attention_mask": mask_RL}
        if "position_ids" in accepts:
            read["position_ids"] = positions_R1
    return new_ids
