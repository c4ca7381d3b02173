"""Tiny random models of many architectures, all with the tokenizer of `models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from tests.support.models import HEADS, WORDS, tokenizer

_SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_HEADS_OF_16 = {"num_key_value_heads": 1, "head_dim": 8}
_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
_SIZES: dict[str, dict[str, Any]] = {
    "Llama": {"num_key_value_heads": 1},
    "Olmo2": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "StableLm": {"num_key_value_heads": 1},
    "Qwen3": {**_HEADS_OF_16, "tie_word_embeddings": True},
    "Mistral": {**_HEADS_OF_16, "sliding_window": 8},
    "Gemma2": {**_HEADS_OF_16, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "Gemma3Text": {**_HEADS_OF_16, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "Phi3": {"num_key_value_heads": 1, "original_max_position_embeddings": 64},
    "OPT": {"ffn_dim": 32, "word_embed_proj_dim": 16, "init_std": 0.2},
    "GPT2": _GPT2,
    "GPTJ": {**_GPT2, "rotary_dim": 4},
    "Bloom": {"n_layer": 2, "n_head": 2},
    "Falcon": {"alibi": True, "multi_query": False, "parallel_attn": False},
    "Mamba": {"state_size": 4},
    "T5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
    "Bart": {
        **{
            f"{side}_{part}": size
            for side in ("encoder", "decoder")
            for part, size in {"layers": 2, "attention_heads": 2, "ffn_dim": 32}.items()
        },
        "d_model": 16,
        "init_std": 0.2,
        "decoder_start_token_id": 3,
        "forced_eos_token_id": 3,
    },
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "Electra": {"embedding_size": 8},
    "Albert": {"embedding_size": 8},
    "DebertaV2": {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "type_vocab_size": 0,
    },
    "ModernBert": {"local_attention": 8, "global_attn_every_n_layers": 2},
    "RoFormer": {"embedding_size": 16},
    "RemBert": {"input_embedding_size": 8, "output_embedding_size": 8},
    "Roberta": {"max_position_embeddings": 66},
    "XLMRoberta": {"max_position_embeddings": 66},
    "XLM": {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "pad_index": 0, "mask_index": 13, "init_std": 0.2},
    "XLNet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "max_position_embeddings": None},
}


def save_architecture(folder: Path, name: str, head: str) -> Path:
    """Write a random model of an architecture, by the name of its configuration's class, with its tokenizer."""
    torch.manual_seed(0)
    sizes = {**_SMALL, **_SIZES.get(name, {})}
    config = getattr(transformers, f"{name}Config")(**{key: size for key, size in sizes.items() if size is not None})
    if head == "sequence-classification":
        config.num_labels = 2
    model = getattr(transformers, f"AutoModel{HEADS[head]}").from_config(config)
    model.save_pretrained(folder)
    tokenizer(around=head == "masked-lm" or name in ("T5", "Bart")).save_pretrained(folder)
    return folder
