"""A small random model and generated reviews, for the audit and the doctor."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from trainers.config import RunConfig

NUM_STEPS = 5
_WORDS = ["<pad>", "<unk>", "the", "food", "service", "was", "very", "not", "good", "bad", "great", "terrible", "it"]
_LAST_REVIEW = "terrible service not good " * 6


def write_project(folder: Path) -> RunConfig:
    """Write a random model and nine generated reviews into a folder, and return the configuration of a run on them."""
    _write_model(folder / "model")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(_WORDS[2:], size=int(rng.integers(3, 9)))) for _ in range(8)] + [_LAST_REVIEW]
    rows = [json.dumps({"text": text, "label": "bad" if "bad" in text else "good"}) for text in texts]
    (folder / "reviews.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    values: dict[str, Any] = {
        "name": "audit",
        "data": {"train": str(folder / "reviews.jsonl"), "num_examples": len(texts)},
        "task": {
            "template": "{text} it was",
            "label_column": "label",
            "label_words": {"bad": " terrible", "good": " great"},
            "max_tokens": 40,
        },
        "model": {"path": str(folder / "model")},
        "method": {"num_steps": NUM_STEPS, "num_directions": 4, "smoothing": 0.01, "clip_norm": 0.1},
        "privacy": {"noise_multiplier": 1.0, "expected_batch_size": 4},
        "performance": {"num_threads": 1},
    }
    return RunConfig.model_validate(values)


def _write_model(folder: Path) -> None:
    """Write a random Llama of 60,000 parameters with a tokenizer of a dozen words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(_WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(_WORDS),
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=64,
            )
        )
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.ndim > 1:
                tensor.mul_(4.0)  # about the size of trained weights, so that losses differ
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
