"""What a step of K directions costs where only some layers move, against 2K whole forward passes of the batch.

    python benchmarks/step_layers.py --data path/to/sst2/train.tsv --model path/to/SmolLM2-135M-Instruct

The layers below the lowest one that moves are read once a batch, and only what moves is perturbed. The contestants take
turns in one process, on the same batch; the rows are a random batch of the file's sentences, all parameters of the
layers train.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from measuring import median_seconds, result_table
from rich.console import Console
from step import examples_from, floor_of, our_context, save_opt_125m, sentences_of
from transformers import AutoConfig, AutoTokenizer

from trainers.config import Layers
from trainers.run.step import take_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="TSV file with the sentences in its first column")
    parser.add_argument("--model", type=Path, help="folder of a causal model with its tokenizer, instead of OPT-125M's")
    parser.add_argument("--num-directions", type=int, default=16, help="K")
    parser.add_argument("--batch-size", type=int, default=16, help="B")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each contestant")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="torch.set_num_threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        report(arguments, Path(temporary))


def report(arguments: argparse.Namespace, temporary: Path) -> None:
    """Time everything and print one table."""
    sentences = sentences_of(arguments.data)
    folder = arguments.model or save_opt_125m(temporary, sentences)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    examples = examples_from(sentences, tokenizer, arguments.batch_size, seed=0)
    quarter = AutoConfig.from_pretrained(folder).num_hidden_layers // 4
    rows: dict[str, Layers] = {"all": "all", f"last quarter ({quarter})": f"last-{quarter}", "the last one": "last-1"}
    contexts = {
        name: our_context(
            folder,
            examples,
            tokenizer,
            "rademacher",
            arguments.repeats + 1,
            layers=layers,
            num_directions=arguments.num_directions,
        )
        for name, layers in rows.items()
    }
    contestants: dict[str, Callable[[int], None]] = {"two whole forward passes": floor_of(contexts["all"])}
    contestants |= {name: partial(take_step, context) for name, context in contexts.items()}
    seconds = median_seconds(contestants, arguments.repeats)
    floor = arguments.num_directions * seconds.pop("two whole forward passes")
    name = arguments.model.name if arguments.model else "OPT-125M's shape"
    title = f"{name}, B = {len(examples)}, K = {arguments.num_directions}, {arguments.threads} threads"
    table = result_table(title, "layers that move", "seconds of a step", "/ 2K whole forward passes")
    for row, value in seconds.items():
        table.add_row(row, f"{value:.2f}", f"{value / floor:.3f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
