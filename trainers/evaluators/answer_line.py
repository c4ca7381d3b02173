"""Where an answer ends: at the end of its line, since metrics compare lines, or at the end-of-sequence token."""

from transformers import PreTrainedTokenizerBase


def has_ended(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> bool:
    if tokenizer.eos_token_id in ids:
        return True
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    return bool(text.strip()) and "\n" in text.lstrip()


def first_line(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Return the text of a continuation up to its end, without blanks around it."""
    end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else len(ids)
    text = str(tokenizer.decode(ids[:end], skip_special_tokens=True)).strip()
    return text.splitlines()[0].strip() if text else ""
