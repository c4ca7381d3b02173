"""Checks that token ids and embedding agree, and constant inputs for data-free scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainers.config import Head
from trainers.evaluators.base import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONSTANT_TOKENS = 8  # in a constant input
_NUM_CONSTANTS = 2


def require_ids_fit(examples: Iterable[Example], num_rows: int, field: str) -> None:
    """Check that the model's embedding has a row for every token id: an example without one would stop the run.

    A tokenizer may know more ids than the model (Gemma 3, Code Llama): only those in the data matter.

    Raises:
        ValueError: it has not; the error tells neither the example nor the id.
    """
    if any(
        max((*of.prompt_ids, *(max(ids, default=0) for ids in of.option_ids)), default=0) >= num_rows for of in examples
    ):
        raise ValueError(
            f"{field}: a row or a label word has a token whose id is not among the {num_rows} of the model's "
            "embedding. Use the tokenizer that belongs to the model; if it does, take its added tokens out of the "
            "texts, or resize the embedding."
        )


def require_context(examples: Iterable[Example], context: float) -> None:
    """Check that no row is longer than a model's context.

    Raises:
        ValueError: one is; the error does not say how long it is.
    """
    longest = max((len(of.prompt_ids) + max(map(len, of.option_ids), default=1) - 1 for of in examples), default=0)
    if longest > context:
        raise ValueError(
            "task.max_tokens: the longest row, a prompt and a continuation of at most max_tokens each, does not fit "
            f"the {context} tokens of the model's context. Lower task.max_tokens."
        )


def padding_id(tokenizer: PreTrainedTokenizerBase, num_rows: int) -> int:
    """Return the id that fills rows: the tokenizer's, or another one if the embedding has no row for it.

    No loss depends on the choice, since padding is masked.
    """
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, 0)
    return next(number for number in ids if isinstance(number, int) and number < num_rows)


def constant_examples(tokenizer: PreTrainedTokenizerBase, head: Head) -> list[Example]:
    """Return examples of one repeated token each. For a masked model a mask follows."""
    special = set(tokenizer.all_special_ids)
    ordinary = [number for number in range(len(tokenizer)) if number not in special]
    tokens = (ordinary or [0, 1])[:_NUM_CONSTANTS]
    return [_constant_example(token, tokenizer, head) for token in tokens]


def _constant_example(token: int, tokenizer: PreTrainedTokenizerBase, head: Head) -> Example:
    row = (token,) * _CONSTANT_TOKENS
    if head == "masked-lm":
        assert isinstance(tokenizer.mask_token_id, int)  # the prompt encoder checks it
        return Example((*row, tokenizer.mask_token_id), ((token,),), 0, mask_place=_CONSTANT_TOKENS)
    return Example(row, ((token,),) if head == "causal-lm" else (), 0)
