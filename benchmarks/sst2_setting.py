"""Make the SST-2 setting of utility.py: a split of the training phrases, and a small encoder that knows some English.

    python benchmarks/sst2_setting.py --data path/to/sst2 --teacher path/to/encoder --out runs/utility/sst2

The benchmark needs cheap steps: a thousand steps of 16 directions on an encoder of 22 M parameters take hours of a CPU
core. So a student of half a million parameters (BERT's shape, two layers) learns to answer like the mean-pooled
encoder, on phrases without their labels. A public key splits the training file into these parts:

* `private.tsv`, 4,096 phrases: the sensitive data of every run;
* `tuning.tsv`, 4,096 phrases, and `held_out.tsv`, 1,000 long ones: public, for the search of learning rates;
* 16,000 phrases: public, for the student.

The test set is SST-2's own validation file. Phrases of one sentence may be in different parts, so the student may have
seen the words of a private phrase. It has seen no label.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frozen_head import features
from rich.progress import Progress
from tokenizers import BertWordPieceTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

NUM_PRIVATE, NUM_TUNING, NUM_HELD_OUT, NUM_PUBLIC = 4096, 4096, 1000, 16_000
LONG = 12  # words (and the label) of a phrase that is about as long as the sentences of the test set
VOCABULARY, WIDTH, FEED_FORWARD, LAYERS, HEADS, PLACES = 4000, 96, 192, 2, 4, 128
EPOCHS, BATCH, LEARNING_RATE = 12, 128, 2e-3


def split(train: Path, out: Path, seed: int = 0) -> list[str]:
    """Write the three labelled parts and return the public phrases, without labels."""
    header, *rows = train.read_text(encoding="utf-8").splitlines()
    shuffled = iter([rows[n] for n in np.random.default_rng(seed).permutation(len(rows))])
    parts = {"private": list(islice(shuffled, NUM_PRIVATE)), "tuning": list(islice(shuffled, NUM_TUNING))}
    public = list(islice(shuffled, NUM_PUBLIC))
    parts["held_out"] = list(islice((row for row in shuffled if len(row.split()) > LONG), NUM_HELD_OUT))
    for name, chosen in parts.items():
        (out / f"{name}.tsv").write_text("\n".join([header, *chosen]) + "\n", encoding="utf-8")
    (out / "validation.tsv").write_bytes(train.with_name("validation.tsv").read_bytes())
    return [row.split("\t")[0].strip() for row in public]


def tokenizer_of(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a WordPiece tokenizer on the public phrases."""
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    around = [(token, pieces.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    pieces._tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=PLACES, **special)


def student(texts: Sequence[str], aims_BW: torch.Tensor, tokenizer: Any) -> BertModel:
    """Train a small BERT whose pooled state, through a linear map, points where the teacher's does."""
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=PLACES,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertModel(shape)
    to_teacher = torch.nn.Linear(WIDTH, aims_BW.shape[1])
    parameters = [*model.parameters(), *to_teacher.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01)
    steps = EPOCHS * (len(texts) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    with Progress() as progress:
        bar = progress.add_task("student", total=steps)
        for _ in range(steps):
            chosen = torch.randint(len(texts), (BATCH,))
            inputs = tokenizer([texts[int(n)] for n in chosen], padding=True, truncation=True, return_tensors="pt")
            answers_BW = to_teacher(model(**inputs).pooler_output)
            loss = 1.0 - torch.nn.functional.cosine_similarity(answers_BW, aims_BW[chosen]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update(bar, advance=1, description=f"student, 1 − cosine {loss.item():.3f}")
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with SST-2's train.tsv and validation.tsv")
    parser.add_argument("--teacher", required=True, help="model folder of an encoder whose mean-pooled states say much")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the split and the student to")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not (arguments.out / "encoder").exists():
        (arguments.out / "encoder").symlink_to(Path(arguments.teacher).resolve())
    texts = split(arguments.data / "train.tsv", arguments.out)
    tokenizer = tokenizer_of(texts)
    answers = arguments.out / "teacher.pt"
    if not answers.is_file():
        torch.save(features(texts, arguments.teacher, pooled=False), answers)
    model = student(texts, torch.load(answers), tokenizer)
    model.save_pretrained(arguments.out / "student")
    tokenizer.save_pretrained(arguments.out / "student")


if __name__ == "__main__":
    main()
