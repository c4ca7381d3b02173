"""A checkpoint → a model, all of whose weights are the checkpoint's. Only a new classification head begins at random.

transformers fills what a checkpoint lacks with random weights and says so in a log. Private training on random weights
looks like private training that learns little, and costs the same ε. So everything else that is missing, has another
shape or is no number is refused, in one line.
"""

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from trainers.config import Head, ModelConfig
from trainers.evaluators.model_files import readable, require_not_quantised, split_gguf
from trainers.evaluators.transformers.readout import first_position

LOGGER = logging.getLogger(__name__)
_AUTO: dict[Head, Any] = {
    "causal-lm": AutoModelForCausalLM,
    "masked-lm": AutoModelForMaskedLM,
    "sequence-classification": AutoModelForSequenceClassification,
}
_WRAPPERS = re.compile(r"(?:(?<=^)|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts that wrappers (DataParallel, torch.compile, FSDP, checkpointing) put into the names of weights."""


class Loaded(NamedTuple):
    """A model in float32, and the names of its new weights: those of a classification head that begins at random."""

    model: Any
    new: frozenset[str]


def read_checkpoint(config: ModelConfig, path: str, *, num_labels: int, pad_token_id: int, seed: int) -> Loaded:
    """Load the model of a folder or of a name on the hub, without an adapter.

    Args:
        config: says which head.
        path: of the model itself; of an adapter, that of its base model.
        num_labels: number of classes of a classification head.
        pad_token_id: of the tokenizer.
        seed: public; initialises a new head.

    Raises:
        ValueError: there is no such model, it lacks weights, or its weights have other shapes or are no numbers.
    """
    where, reader = split_gguf(path)
    classes = {"num_labels": num_labels} if config.head == "sequence-classification" else {}
    with readable(path, f"{config.head} model"):
        shape = AutoConfig.from_pretrained(where, trust_remote_code=False, **reader, **classes)
    require_not_quantised(vars(shape), path)
    _drop_unusable_padding(shape)
    with readable(path, f"{config.head} model"):
        model, info = _from_pretrained(config.head, where, shape, seed, reader)
    mismatched = {name: f"{tuple(have)} instead of {tuple(want)}" for name, have, want in info["mismatched_keys"]}
    new = frozenset({*info["missing_keys"], *mismatched})
    allowed = {name for name in new if config.head == "sequence-classification" and is_of_head(model, name)}
    _require_found(sorted(new - allowed), mismatched, path, config.head)
    _require_numbers(model, path)
    _agree_on_padding(model, config.head, pad_token_id)
    return Loaded(model, new)


def is_of_head(model: Any, name: str) -> bool:
    """Return whether a weight of a classifier belongs to its head: all that is not the model below, and a pooler."""
    return not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name


def _from_pretrained(
    head: Head, where: str, shape: Any, seed: int, reader: Mapping[str, str]
) -> tuple[Any, Mapping[str, Any]]:
    """Return the model and what transformers reports about its weights."""
    settings: dict[str, Any] = {
        "config": shape,
        "dtype": torch.float32,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # what is no head's is refused
    }
    # not told, the library asks on the terminal whether to run the checkpoint's own code
    load = partial(_AUTO[head].from_pretrained, where, trust_remote_code=False, **reader, **settings)
    model, info = _seeded(seed, load)
    wrapped = sorted(name for name in info["unexpected_keys"] if _WRAPPERS.search(name))
    weights = _without_wrappers(where) if wrapped else {}
    if not weights:
        return model, info
    LOGGER.warning("model.path: %s was saved inside a wrapper (%s): its names are stripped", where, wrapped[0])
    return _seeded(seed, partial(type(model).from_pretrained, None, state_dict=weights, **settings))


def _seeded(seed: int, load: Callable[[], Any]) -> Any:
    """Call what may draw random weights, from a public seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return load()


def _without_wrappers(where: str) -> dict[str, torch.Tensor]:
    """Return the weights of a folder's safetensors files under their plain names."""
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(Path(where).glob("*.safetensors")):
        weights |= {_WRAPPERS.sub("", name): tensor for name, tensor in load_file(file).items()}
    return weights


def _require_found(missing: Iterable[str], mismatched: Mapping[str, str], path: str, head: Head) -> None:
    missing = list(missing)
    if not missing:
        return
    first = missing[0]
    how = f"{first} has the shape {mismatched[first]}" if first in mismatched else f"{first} is missing"
    hint = "a whole checkpoint that belongs to its config.json"
    if head != "sequence-classification" and first not in mismatched:
        hint += ", one with that head, or model.head sequence-classification"
    raise ValueError(
        f"model.path: {path!r} lacks {len(missing)} weights of a {head} model ({how}), which would be random. "
        f"Use {hint}"
    )


def _drop_unusable_padding(shape: Any) -> None:
    """Forget a padding id of config.json that the model's embedding does not have."""
    text = shape.get_text_config()
    own = getattr(text, "pad_token_id", None)
    if own is not None and not 0 <= own < getattr(text, "vocab_size", math.inf):
        text.pad_token_id = None


def _agree_on_padding(model: Any, head: Head, pad_token_id: int) -> None:
    """Make the tokenizer's padding id the model's, where it has none, and where it looks for the end of a row by it.

    A model that numbers its positions after its own padding id, such as RoBERTa, keeps that.
    """
    text = model.config.get_text_config()
    looks_for_it = head == "sequence-classification" and not first_position(model)
    if text.pad_token_id is None or looks_for_it:
        text.pad_token_id = pad_token_id


def _require_numbers(model: Any, path: str) -> None:
    bad = [name for name, tensor in model.named_parameters() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise ValueError(
            f"model.path: {len(bad)} weights of {path!r} hold NaN or infinity ({bad[0]}). The checkpoint is damaged, "
            "or its training diverged: use another"
        )
