"""What a zeroth-order step costs with each evaluator: seconds, tokens a second and memory, as ratios in one run.

    python benchmarks/evaluators.py [--directions 1 4] [--batch-sizes 8 32] [--shape small] [--repeats 5]
    python benchmarks/evaluators.py --gpu [--json gpu.json] [--minutes 7.5]    # all of evaluators_gpu.py, on a GPU

A step is 2K probes of B examples and one update. The model is a Llama with random weights; the examples have 12 to 60
random tokens and two one-token options. On a CPU the contestants take turns, so that a busy machine slows down all of
them alike. On a GPU each is a process of its own.

* padded loop: the step of the research codes (padded_loop.py);
* transformers, vllm reference, vllm fast: the evaluators, all parameters training (reference: vLLM's own
  prompt_logprobs; fast: logits of label rows alone, a whole step in one call);
* LoRA: the same with an adapter; vLLM reads 2K adapters × B rows in one batch;
* low-rank: all linear layers train along directions U Vᵀ of rank 1. vLLM gets the probes one after the other (written),
  or as 2K adapters × B rows in one batch.

Peak memory is that of a new process that takes two steps of the largest size.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import evaluators_gpu
import torch
from evaluators_timed import (
    BATCHED,
    CONTESTANTS,
    WRITTEN,
    open_contestant,
    peak_gigabytes,
    print_peak,
    seconds_by_size,
    table_of,
)
from padded_loop import Size
from random_llama import SHAPES, examples_of, save_model
from rich.console import Console


def parsed() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small", help="size of the Llama")
    parser.add_argument("--directions", type=int, nargs="+", default=[1, 4], help="values of K to time")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32], help="values of B to time")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each contestant and size")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch.set_num_threads")
    parser.add_argument("--processor-time", action="store_true", help="measure processor time: for a busy machine")
    parser.add_argument("--only", choices=CONTESTANTS, nargs="+", default=list(CONTESTANTS), help="contestants to time")
    parser.add_argument("--gpu", action="store_true", help="measure a GPU, in bfloat16, and write a JSON file")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="with --gpu: the file")
    parser.add_argument("--minutes", type=float, default=7.5, help="with --gpu: when to stop")
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=evaluators_gpu.ORDER, help="with --gpu: models")
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)  # cpu: to try the command itself
    parser.add_argument("--peak-of", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)  # a process started by this one reads its model
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    if arguments.measure:
        print(json.dumps(evaluators_gpu.measure(arguments.measure, arguments)))
        return
    if arguments.gpu:
        evaluators_gpu.suite(arguments)
        return
    device, shape = "cpu", SHAPES[arguments.shape]
    sizes = [Size(k, b) for k in arguments.directions for b in arguments.batch_sizes]
    examples = examples_of(max(arguments.batch_sizes), shape.vocabulary)
    names = [name for name in arguments.only if find_spec("vllm") or CONTESTANTS[name].evaluator != "vllm"]
    most = max(arguments.directions)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or Path(temporary)
        if alone := arguments.peak_of:
            opened = open_contestant(alone, folder, examples, device, arguments.threads, most)
            print_peak(opened, Size(most, len(examples)), device)
            return
        save_model(folder, shape)
        entries = {name: open_contestant(name, folder, examples, device, arguments.threads, most) for name in names}
        clock = time.process_time if arguments.processor_time else time.perf_counter
        seconds = seconds_by_size(entries, sizes, arguments.repeats, clock)
        for entry in entries.values():
            entry.close()
        peaks = {name: peak_gigabytes(name, arguments, folder) for name in names}
    run = f"float32, {arguments.threads} threads, medians of {arguments.repeats}"
    console = Console(width=100)
    console.print(table_of(seconds, peaks, examples, f"Llama, {shape.hidden} × {shape.layers}, {run}"))
    if {WRITTEN, BATCHED} <= set(names):
        ratios = {of: seconds[WRITTEN, of] / seconds[BATCHED, of] for of in sizes}
        found = ", ".join(f"{ratio:.2f} (K {of.directions}, B {of.batch})" for of, ratio in ratios.items())
        console.print(f"low-rank probes, seconds written one after the other / in one batch: {found}")


if __name__ == "__main__":
    main()
