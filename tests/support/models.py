"""Small random models and a tokenizer, built in a folder as a user would have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = ["<pad>", "<unk>", "<s>", "</s>", "It", "was", "great", "terrible", "not", "very", "good", "food", "service"]
WORDS += ["<mask>"]
VOCABULARY = {word: number for number, word in enumerate(WORDS)}
MASK_ID = VOCABULARY["<mask>"]
HEADS = {
    "causal-lm": "ForCausalLM",
    "masked-lm": "ForMaskedLM",
    "sequence-classification": "ForSequenceClassification",
}
CAUSAL, ENCODERS = ("llama", "qwen2", "opt", "gpt2"), ("bert", "roberta")
FAMILIES = ("qwen3", "gemma3", "mistral", "phi3")
_LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 64, "max_position_embeddings": 64}
_GROUPED = {**_LAYERS, "intermediate_size": 96, "num_key_value_heads": 1}
_MIXED = ["sliding_attention", "full_attention"]
_SIZES: dict[str, dict[str, Any]] = {
    "llama": _GROUPED,
    "qwen2": _GROUPED,
    "opt": {**_LAYERS, "ffn_dim": 96, "word_embed_proj_dim": 64, "dropout": 0.1, "pad_token_id": 0},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 2, "eos_token_id": 3},
    "qwen3": {**_GROUPED, "head_dim": 32},
    "gemma3": {**_GROUPED, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8, "layer_types": _MIXED},
    "mistral": {**_GROUPED, "sliding_window": None},
    "phi3": {**_GROUPED, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    "bert": {**_LAYERS, "intermediate_size": 96},
    "roberta": {**_LAYERS, "intermediate_size": 96, "max_position_embeddings": 66, "pad_token_id": 0},
}
_NAMES = {"llama": "Llama", "qwen2": "Qwen2", "opt": "OPT", "gpt2": "GPT2", "bert": "Bert", "roberta": "Roberta"}
_NAMES |= {"qwen3": "Qwen3", "mistral": "Mistral", "phi3": "Phi3", "gemma3": "Gemma3"}


def tokenizer(*, around: bool = False) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer of a dozen words; with `around` it puts <s> and </s> around a text."""
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if around:
        special = [("<s>", VOCABULARY["<s>"]), ("</s>", VOCABULARY["</s>"])]
        words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
    )


def save_model(folder: Path, architecture: str, head: str | None = None, *, tied: bool = False) -> Path:
    """Write a random model of an architecture with its tokenizer; weights are the same each time.

    Without a head a BERT is a classifier and any other architecture a causal model.
    """
    head = head or ("sequence-classification" if architecture in ENCODERS else "causal-lm")
    name = _NAMES[architecture]
    kind = "LMHeadModel" if architecture == "gpt2" else HEADS[head]
    config = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")(
        vocab_size=len(WORDS), **_SIZES[architecture], **({"tie_word_embeddings": tied} if name == "Llama" else {})
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}{kind}")(config)
    with torch.no_grad():
        for tensor in model.parameters():  # larger than the usual initialisation, so that losses differ visibly
            if tensor.ndim > 1:
                tensor.mul_(4.0)
    model.save_pretrained(folder)
    tokenizer(around=head == "masked-lm").save_pretrained(folder)
    return folder
