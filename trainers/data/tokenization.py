"""A model's tokenizer: loading it, and encoding texts so that the ids of a text depend on no other text.

Texts are tokenised without special tokens. The special tokens that the tokenizer puts around a text are found once, on
a public text, and added after a prompt is cut: a cut prompt keeps its first token (a causal model's bos).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.evaluators.model_files import readable, split_gguf

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]

_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model*",
    "*.model",
    "*.tiktoken",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_TEXTS_AT_ONCE = 2000
_BAR_FROM = 20_000


def check_tokenizer(path: str) -> None:
    """Check, without loading it, that a model folder exists and has a tokenizer. A name on the hub passes.

    Otherwise ValueError: transformers would silently build an empty tokenizer from a bare config.json.
    """
    folder = Path(path)
    if split_gguf(path)[1]:
        return  # the file holds the tokenizer too
    if folder.is_dir():
        if not any(next(folder.glob(pattern), None) for pattern in _VOCABULARIES):
            raise ValueError(
                f"model.path: folder {path} has no tokenizer (tokenizer.json or a vocabulary). Save the model's own "
                f"there with tokenizer.save_pretrained({path!r})"
            )
        if not _begins_as_json(folder / "tokenizer.json"):
            raise ValueError(
                f"model.path: tokenizer.json in {path} is not JSON. If it is a git-lfs pointer, fetch the file with "
                "git lfs pull"
            )
    elif not _may_be_on_hub(path):
        seen_from = "" if folder.is_absolute() else f", seen from the working directory {Path.cwd()}"
        beside = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
        close = difflib.get_close_matches(folder.name, beside, n=1)
        hint = f" Did you mean {folder.parent / close[0]}?" if close else ""
        raise ValueError(f"model.path: there is no folder {path}{seen_from}.{hint}")


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder or of a name on the hub, without running the model's own code.

    A tokenizer without a padding token pads with its end-of-sequence token, or else its unknown token. That needs no
    new row in the embedding. No loss depends on the choice, since padding is masked.

    Raises:
        ValueError: the folder or the tokenizer is missing or damaged, or the tokenizer has no token to pad with.
    """
    check_tokenizer(path)
    from transformers import AutoTokenizer

    where, reader = split_gguf(path)
    with readable(path, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **reader)
        tokenizer.decode(tokenizer("a public text", verbose=False)["input_ids"])  # some damaged settings fail only here
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"model.path: the tokenizer of {path!r} has no padding, end or unknown token; set its pad_token"
        )
    return tokenizer


class TextEncoder:
    """Texts → ids, and the special tokens around a prompt.

    Args:
        anchor: a public text in the form of a prompt; shows how the tokenizer treats a prompt and what follows it.

    Attributes:
        prefix, suffix: ids that the tokenizer puts before and after a text by default.
        end: id of its end-of-sequence token in a tuple, which is empty if there is none.
        unknown: id of its unknown token, or None.

    Raises:
        ValueError: the anchor has no token, or the tokenizer puts special tokens inside a text.

    Formal guarantees:
        The ids of a text depend on that text alone, not on the texts beside it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, anchor: str) -> None:
        self._tokenizer = tokenizer
        self._anchor = anchor
        self._anchor_ids = self.encode([anchor])[0]
        self.prefix, self.suffix = self._surroundings()
        end, unknown = tokenizer.eos_token_id, tokenizer.unk_token_id
        self.end: Ids = (end,) if isinstance(end, int) else ()
        self.unknown: int | None = unknown if isinstance(unknown, int) else None

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, without special tokens; show a progress bar if it takes seconds."""
        chunks = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
        return [ids for chunk in _with_progress(chunks, len(texts)) for ids in self._encode_chunk(chunk)]

    def encode_after_prompt(self, texts: Sequence[str]) -> list[Ids | None]:
        """Return the ids that each text has after a prompt; None if its beginning merges with the prompt.

        A text alone can have other ids: a SentencePiece tokenizer puts a blank before it. So it is tokenised after the
        anchor, whose ids must stay unchanged and are then removed.
        """
        length = len(self._anchor_ids)
        joint = self.encode([self._anchor + text for text in texts])
        return [ids[length:] if ids[:length] == self._anchor_ids else None for ids in joint]

    def encode_continuations(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text after a prompt, or alone if its beginning would merge with the prompt."""
        after_prompt = self.encode_after_prompt(texts)
        merged = [index for index, ids in enumerate(after_prompt) if ids is None]
        alone = dict(zip(merged, self.encode([texts[index] for index in merged]), strict=True))
        return [alone[index] if ids is None else ids for index, ids in enumerate(after_prompt)]

    def pieces(self, ids: Ids) -> list[str]:
        return [str(self._tokenizer.decode([token])) for token in ids]

    def _encode_chunk(self, texts: Sequence[str]) -> list[Ids]:
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # no warning about texts longer than the model: prompts are cut later
        )
        return [tuple(ids) for ids in encoded["input_ids"]]

    def _surroundings(self) -> tuple[Ids, Ids]:
        whole, bare = tuple(self._tokenizer(self._anchor, verbose=False)["input_ids"]), self._anchor_ids
        if not bare:
            raise ValueError("model.path: the tokenizer finds no token in task.template; is it this model's tokenizer?")
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
        raise ValueError(
            "model.path: the tokenizer puts special tokens into a text, not only around it; use another one"
        )


def _begins_as_json(file: Path) -> bool:
    if not file.is_file():
        return True
    with file.open("rb") as stream:
        return stream.read(1) == b"{"


def _may_be_on_hub(path: str) -> bool:
    """Return whether a path can be a name on the hub; 'models/x' beside a folder 'models' is a mistyped path."""
    owner, slash, _ = path.partition("/")
    return _HUB_NAME.fullmatch(path) is not None and not (slash and Path(owner).is_dir())


def _with_progress(chunks: Sequence[Sequence[str]], total: int) -> Iterable[Sequence[str]]:
    """Yield the chunks; show a bar on standard error if there are many texts and it is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=total < _BAR_FROM or not console.is_terminal) as progress:
        bar = progress.add_task("Tokenising", total=total)
        for chunk in chunks:
            yield chunk
            progress.advance(bar, len(chunk))
