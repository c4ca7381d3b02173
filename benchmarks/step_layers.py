"""What a step of K directions costs where a direction moves some layers only, against 2K whole forward passes.

    python benchmarks/step_layers.py --data path/to/sst2/train.tsv --model path/to/SmolLM2-135M-Instruct

Layers below those that a probe moves are read once a batch, or once for all batches where their states are kept, and
only what moves is perturbed. The contestants take turns in one process, on the same batch, and each is divided by whole
forward passes of its own type of number; the rows are a random batch of the file's sentences. Each timed step of
block-local directions draws other layers. Peak memory is that of a new process that takes two steps.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import median_seconds, number_from_fresh_process, peak_resident_gigabytes, result_table
from rich.console import Console
from step import examples_from, floor_of, our_context, save_opt_125m, sentences_of
from transformers import AutoConfig, AutoTokenizer

from trainers.run.step import StepContext, take_step

KEPT_GB = 1.0
ROWS: dict[str, dict[str, Any]] = {
    "all": {},
    "one layer a direction (support: layer)": {"method": {"support": "layer"}},
    "last quarter": {"model": {"layers": "last-quarter"}},
    "the last one": {"model": {"layers": "last-1"}},
    "head": {"model": {"layers": "head"}},
    "all, bfloat16": {"model": {"dtype": "bfloat16"}},
    "last quarter, bfloat16, states kept": {
        "model": {"layers": "last-quarter", "dtype": "bfloat16"},
        "kept_states_gb": KEPT_GB,
    },
    "head, bfloat16, states kept": {"model": {"layers": "head", "dtype": "bfloat16"}, "kept_states_gb": KEPT_GB},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="TSV file with the sentences in its first column")
    parser.add_argument("--model", type=Path, help="folder of a causal model with its tokenizer, instead of OPT-125M's")
    parser.add_argument("--num-directions", type=int, default=16, help="K")
    parser.add_argument("--batch-size", type=int, default=16, help="B")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each contestant")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="torch.set_num_threads")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="rows of the table")
    parser.add_argument("--time-only", action="store_true", help="leave the peak memory out")
    parser.add_argument("--peak-memory-of", choices=list(ROWS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or save_opt_125m(Path(temporary), sentences_of(arguments.data))
        if arguments.peak_memory_of:
            report_peak(arguments, folder)
        else:
            report(arguments, folder)


def opened(arguments: argparse.Namespace, folder: Path, row: str, num_steps: int) -> StepContext:
    """Return the step of a row."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    examples = examples_from(sentences_of(arguments.data), tokenizer, arguments.batch_size, seed=0)
    model, method = dict(ROWS[row].get("model", {})), dict(ROWS[row].get("method", {}))
    if model.get("layers") == "last-quarter":
        model["layers"] = f"last-{AutoConfig.from_pretrained(folder).num_hidden_layers // 4}"
    method["num_directions"] = arguments.num_directions
    kept = ROWS[row].get("kept_states_gb", 0.0)
    return our_context(folder, examples, tokenizer, "rademacher", num_steps, model, method, kept)


def report_peak(arguments: argparse.Namespace, folder: Path) -> None:
    """Take two steps and print the peak resident memory in GB."""
    context = opened(arguments, folder, arguments.peak_memory_of, 2)
    for number in range(2):
        take_step(context, number)
    print(peak_resident_gigabytes())


def peak_memory(arguments: argparse.Namespace, folder: Path, row: str) -> float:
    passed = {"data": arguments.data, "model": folder, "num-directions": 2, "batch-size": arguments.batch_size}
    flags = [text for name, value in passed.items() for text in (f"--{name}", value)]
    return number_from_fresh_process(__file__, *flags, "--threads", arguments.threads, "--peak-memory-of", row)


def report(arguments: argparse.Namespace, folder: Path) -> None:
    """Time everything and print one table."""
    wholes = list(dict.fromkeys(map(whole_of, arguments.rows)))
    rows = dict.fromkeys([*wholes, *arguments.rows])
    contexts = {row: opened(arguments, folder, row, arguments.repeats + 1) for row in rows}
    contestants: dict[str, Callable[[int], None]] = {f"floor of {row}": floor_of(contexts[row]) for row in wholes}
    contestants |= {row: partial(take_step, contexts[row]) for row in arguments.rows}
    seconds = median_seconds(contestants, arguments.repeats)
    name = arguments.model.name if arguments.model else "OPT-125M's shape"
    title = f"{name}, B = {arguments.batch_size}, K = {arguments.num_directions}, {arguments.threads} threads"
    table = result_table(title, "what a direction moves", "seconds of a step", "/ 2K whole forward passes", "peak GB")
    for row in arguments.rows:
        floor = arguments.num_directions * seconds[f"floor of {whole_of(row)}"]
        peak = "" if arguments.time_only else f"{peak_memory(arguments, folder, row):.2f}"
        table.add_row(row, f"{seconds[row]:.2f}", f"{seconds[row] / floor:.3f}", peak)
    Console(width=110).print(table)


def whole_of(row: str) -> str:
    """Return the row whose forward passes a row is divided by."""
    return "all, bfloat16" if "bfloat16" in row else "all"


if __name__ == "__main__":
    main()
