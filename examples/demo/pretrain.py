"""The demo model: a small Llama and its tokenizer, trained from nothing on the public text.

A decoder of two layers and 170,000 parameters carries a note's mood to the note's end after a minute on one CPU core.
Head dimension 32 and the plain Llama layout let inference engines run it like a large model.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from grammar import shuffled
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

UNK, BOS, EOS, PAD = "<unk>", "<s>", "</s>", "<pad>"
SPECIAL = [UNK, BOS, EOS, PAD]
PAD_ID = SPECIAL.index(PAD)
MAX_POSITIONS = 256


@dataclass(frozen=True)
class Recipe:
    """Size and schedule of the pretraining. `learning_rate` is its peak; it falls to a twentieth along a cosine."""

    vocab_size: int = 1280
    hidden_size: int = 64
    intermediate_size: int = 160
    num_layers: int = 2
    num_heads: int = 2
    num_epochs: int = 2
    batch_size: int = 64
    learning_rate: float = 5e-3
    weight_decay: float = 0.1
    warmup_steps: int = 50
    seed: int = 20


def train_tokenizer(texts: Sequence[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the public text: it can write any text, and frequent words are one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, SPECIAL.index(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNK,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=MAX_POSITIONS,
    )


def new_model(vocab_size: int, recipe: Recipe) -> LlamaForCausalLM:
    """Make the untrained model; its weights depend on the recipe's seed alone."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        num_key_value_heads=recipe.num_heads,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL.index(BOS),
        eos_token_id=SPECIAL.index(EOS),
        pad_token_id=PAD_ID,
    )
    return LlamaForCausalLM(config)


def batches(lengths: Sequence[int], recipe: Recipe) -> list[list[int]]:
    """Document indices of every step: random documents, of similar length within a batch so that padding is small."""
    rng = random.Random(recipe.seed)
    window = 16 * recipe.batch_size
    result: list[list[int]] = []
    for _ in range(recipe.num_epochs):
        order = shuffled(rng, range(len(lengths)))
        epoch: list[list[int]] = []
        for start in range(0, len(order), window):
            by_length = sorted(order[start : start + window], key=lambda index: lengths[index])
            epoch += [by_length[i : i + recipe.batch_size] for i in range(0, len(by_length), recipe.batch_size)]
        result += shuffled(rng, epoch)
    return result


def padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Token ids as one [rows, longest] tensor, padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD_ID] * (longest - len(row))] for row in rows])


def rate(step: int, num_steps: int, recipe: Recipe) -> float:
    """Learning rate of `step`: linear warm-up, then a cosine down to a twentieth of the peak."""
    cosine = 0.05 + 0.95 * (1 + math.cos(math.pi * step / num_steps)) / 2
    return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps) * cosine


def pretrain(
    texts: Sequence[str], recipe: Recipe, on_step: Callable[[int, int, float], None]
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Model and tokenizer after next-token training on `texts`; `on_step(step, num_steps, loss)` follows it."""
    tokenizer = train_tokenizer(texts[:8000], recipe)
    documents = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(list(texts))["input_ids"]]
    model = new_model(len(tokenizer), recipe)
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    gains = [weight for weight in model.parameters() if weight.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": gains, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )
    steps = batches([len(ids) for ids in documents], recipe)
    for step, indices in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, len(steps), recipe)
        on_step(step, len(steps), _train_step(model, optimizer, padded([documents[i] for i in indices])))
    return model.eval(), tokenizer


def _train_step(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, tokens: torch.Tensor) -> float:
    labels = tokens.masked_fill(tokens == PAD_ID, -100)
    loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a model folder that `AutoModelForCausalLM` and `AutoTokenizer` load offline (float32 safetensors)."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Version 5 of transformers writes a class name that version 4 does not know; both read the older one.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
