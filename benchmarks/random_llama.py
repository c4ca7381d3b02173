"""A Llama with random weights in several sizes, and examples of random tokens, for evaluators.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trainers.evaluators.base import Example

CONTEXT, SHORTEST, LONGEST = 256, 12, 60  # tokens of the model's context, and of the examples
OPTIONS = ((7,), (8,))


class Shape(NamedTuple):
    """Sizes of a Llama."""

    hidden: int
    layers: int
    feed_forward: int
    heads: int
    vocabulary: int


SHAPES = {
    "small": Shape(256, 4, 768, 8, 8_000),
    "0.5b": Shape(896, 24, 4864, 14, 151_936),
    "1.5b": Shape(1536, 28, 8960, 12, 151_936),
    "3b": Shape(2048, 36, 11008, 16, 151_936),
    "7b": Shape(3584, 28, 18944, 28, 151_936),
}


def save_model(folder: Path, shape: Shape) -> PreTrainedTokenizerFast:
    """Write a random model, and a tokenizer that only supplies the special tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(torch.bfloat16 if shape.hidden > 512 else torch.float32).save_pretrained(folder)
    words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    return tokenizer


def examples_of(count: int, vocabulary: int) -> list[Example]:
    """Return examples of unequal lengths, the same ones for the same arguments."""
    source = np.random.default_rng(0)
    lengths = source.integers(SHORTEST, LONGEST + 1, count)
    return [
        Example(tuple(map(int, source.integers(9, vocabulary, length))), OPTIONS, n % 2)
        for n, length in enumerate(lengths)
    ]
