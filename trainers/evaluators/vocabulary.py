"""A check that tokenizer and model agree on token ids, and a constant input for data-free scores."""

from transformers import PreTrainedTokenizerBase

from trainers.config import Head
from trainers.evaluators.base import Example

_CONSTANT_TOKENS = 8  # in the constant input


def require_ids_fit(tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Check that the model's embedding has a row for every token id: a private row without one would stop the run."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise ValueError(
            f"model.path: the tokenizer's ids go up to {largest}, the model's embedding has {rows} rows. Use the "
            "tokenizer that belongs to the model, or resize its embedding."
        )


def constant_example(tokenizer: PreTrainedTokenizerBase, head: Head) -> Example:
    """Return an example of one repeated token. For a masked model a mask follows."""
    special = set(tokenizer.all_special_ids)
    constant = next((n for n in range(len(tokenizer)) if n not in special), 0)
    row = (constant,) * _CONSTANT_TOKENS
    if head == "masked-lm":
        assert isinstance(tokenizer.mask_token_id, int)  # the prompt encoder checks it
        return Example((*row, tokenizer.mask_token_id), ((constant,),), 0, mask_place=_CONSTANT_TOKENS)
    return Example(row, ((constant,),) if head == "causal-lm" else (), 0)
