"""Small random models and a tokenizer, built in a folder as a user would have them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
)

WORDS = ["<pad>", "<unk>", "<s>", "</s>", "It", "was", "great", "terrible", "not", "very", "good", "food", "service"]
VOCABULARY = {word: number for number, word in enumerate(WORDS)}


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer of a dozen words."""
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def save_model(folder: Path, architecture: str, *, tied: bool = False) -> Path:
    """Write a random model of an architecture with its tokenizer; weights are the same each time."""
    torch.manual_seed(0)
    size = len(WORDS)
    if architecture == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=size,
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=64,
                tie_word_embeddings=tied,
            )
        )
    elif architecture == "opt":
        model = OPTForCausalLM(
            OPTConfig(
                vocab_size=size,
                hidden_size=64,
                ffn_dim=96,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                word_embed_proj_dim=64,
                dropout=0.1,
                pad_token_id=0,
            )
        )
    elif architecture == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_embd=64, n_layer=2, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3)
        )
    else:
        model = BertForSequenceClassification(
            BertConfig(
                vocab_size=size,
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
            )
        )
    with torch.no_grad():
        for tensor in model.parameters():  # larger than the usual initialisation, so that losses differ visibly
            if tensor.ndim > 1:
                tensor.mul_(4.0)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
