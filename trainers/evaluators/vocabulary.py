"""What a tokenizer and a model must agree on, and an input that says nothing."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from trainers.config import Head
from trainers.evaluators.base import Example

_CONSTANT_TOKENS = 8  # of the input that data-free scores ask about


def require_ids_fit(tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Refuse a tokenizer that knows tokens which the model does not: a private row with one would stop the run."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise ValueError(
            f"model.path: the tokenizer's ids go up to {largest}, the model's embedding has {rows} rows. Use the "
            "tokenizer that belongs to the model, or resize its embedding."
        )


def constant_example(tokenizer: PreTrainedTokenizerBase, head: Head) -> Example:
    """Return one token, repeated: an input that says nothing. A masked model is asked at a mask behind it."""
    special = set(tokenizer.all_special_ids)
    constant = next((n for n in range(len(tokenizer)) if n not in special), 0)
    row = (constant,) * _CONSTANT_TOKENS
    if head == "masked-lm":
        assert isinstance(tokenizer.mask_token_id, int)  # the prompt encoder sees to it
        return Example((*row, tokenizer.mask_token_id), ((constant,),), 0, mask_place=_CONSTANT_TOKENS)
    return Example(row, ((constant,),) if head == "causal-lm" else (), 0)
