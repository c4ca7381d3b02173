"""Greedy continuations of prompts, for tasks whose answer is a text.

One forward pass reads the prompts, padded on the left, and one more a token continues them all from the cached keys and
values. A text ends at its line's end or at the end-of-sequence token: answers of one line are what the metrics compare.
"""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase


def has_ended(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> bool:
    """Return whether a continuation has come to its line's end, or to the text's."""
    if tokenizer.eos_token_id in ids:
        return True
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    return bool(text.strip()) and "\n" in text.lstrip()


def first_line(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Return the text of a continuation to its line's end, or to the text's, without blanks around it."""
    end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else len(ids)
    text = str(tokenizer.decode(ids[:end], skip_special_tokens=True)).strip()
    return text.splitlines()[0].strip() if text else ""
