"""Build the files of the demo from seeds: the model, its tokenizer, the private and the public data set.

    python examples/demo/build.py [--out DIR] [--data-only] [--threads N]

This takes about 70 seconds of one core. The data files have the same bytes on every machine. The model is the same for
the same build of torch and the same number of threads, and equally good otherwise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from public_texts import documents
from reviews import reviews

PUBLIC_TEXT_SEED, PRIVATE_SEED, VALIDATION_SEED = 11, 12, 13
NUM_PUBLIC_TEXTS, NUM_PRIVATE, NUM_VALIDATION = 48_000, 4000, 500


def write_reviews(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write (text, label) pairs as JSON lines."""
    lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def build_data(folder: Path) -> None:
    """Write `private.jsonl` and `public_validation.jsonl`; no text is in both."""
    private = reviews(PRIVATE_SEED, NUM_PRIVATE)
    validation = reviews(VALIDATION_SEED, NUM_VALIDATION, avoid={text for text, _ in private})
    write_reviews(folder / "private.jsonl", private)
    write_reviews(folder / "public_validation.jsonl", validation)


def build_model(folder: Path, num_threads: int) -> None:
    """Pretrain on the public text and write the model folder, with a progress bar."""
    import torch
    from pretrain import Recipe, pretrain, save
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    torch.set_num_threads(num_threads)
    texts = list(documents(PUBLIC_TEXT_SEED, NUM_PUBLIC_TEXTS))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("pretraining", total=None)

        def show(step: int, num_steps: int, loss: float) -> None:
            progress.update(bar, total=num_steps, completed=step + 1, description=f"pretraining, loss {loss:.2f}")

        model, tokenizer = pretrain(texts, Recipe(), show)
    save(model, tokenizer, folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    parser.add_argument("--data-only", action="store_true", help="write the two data sets, train no model")
    parser.add_argument("--threads", type=int, default=1, help="torch threads for pretraining")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    build_data(options.out)
    if not options.data_only:
        build_model(options.out / "model", options.threads)


if __name__ == "__main__":
    main()
