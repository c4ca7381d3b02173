"""What a zeroth-order step costs with each evaluator: seconds, tokens a second and memory, as ratios in one run.

    python benchmarks/evaluators.py [--directions 1 4] [--batch-sizes 8 32] [--shape small] [--repeats 5]
    python benchmarks/evaluators.py --gpu [--shape 7b]        # more sizes and questions: evaluators_gpu.py

A step is 2K probes of B examples and one update. The model is a Llama with random weights, the examples have 12 to 60
random tokens and two one-token options. Contestants take turns on a CPU, so that a busy machine slows all alike; on a
GPU, where two large models do not fit beside each other, one comes after the other.

* padded loop: as the research codes do it: padded batch, logits everywhere, `torch.normal` regenerated from a seed;
* transformers, vllm reference, vllm fast: the evaluators, all parameters training (reference: vLLM's own
  prompt_logprobs; fast: logits of label rows alone, a whole step in one call);
* LoRA: the same with an adapter; vLLM reads 2K adapters × B rows in one batch;
* low-rank: all linear layers train along directions U Vᵀ of rank 1, which vLLM is given one after the other (written),
  or as 2K adapters × B rows in one batch.

Peak memory is that of a fresh process which takes two steps of the largest size.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from padded_loop import SMOOTHING, STEP_SIZE, PaddedLoop, Size
from random_llama import SHAPES, examples_of, save_model
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedTokenizerFast

from trainers.config import LoraConfig, ModelConfig, PerformanceConfig, VllmConfig
from trainers.directions.frames import Law, drawn
from trainers.evaluators.base import Example, LossEvaluator, Probe


class Contestant(NamedTuple):
    """A way to take steps: which evaluator, what trains, how vLLM scores and sees; None is the padded loop."""

    evaluator: str | None
    trainable: str = "full"
    scoring: str = "fast"
    batch_invariant: bool = False
    probe_rank: int = 0


WRITTEN, BATCHED = "vllm, low-rank written", "vllm, low-rank batch"
CONTESTANTS = {
    "padded loop": Contestant(None),
    "transformers": Contestant("transformers"),
    "vllm reference": Contestant("vllm", scoring="reference"),
    "vllm fast": Contestant("vllm"),
    "transformers, LoRA": Contestant("transformers", "lora"),
    "vllm, LoRA batch": Contestant("vllm", "lora"),
    "transformers, low-rank": Contestant("transformers", "all-linear"),
    WRITTEN: Contestant("vllm", "all-linear"),
    BATCHED: Contestant("vllm", "all-linear", probe_rank=1),
}
HIDDEN = {"vllm fast, batch-invariant": Contestant("vllm", batch_invariant=True)}
Step = Callable[[int, Size], None]


class Entry:
    """An opened contestant: takes steps until it is closed."""

    def __init__(
        self, of: Contestant, folder: Path, examples: Sequence[Example], device: str, threads: int, most: int
    ) -> None:
        dtype, self._examples = "bfloat16" if device != "cpu" else "float32", examples
        self._loop = PaddedLoop(folder, examples, device, dtype) if of.evaluator is None else None
        self._evaluator: LossEvaluator | None = None
        self._law: Law = "low-rank" if of.trainable == "all-linear" else "rademacher"
        if of.evaluator is None:
            return
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        settings = {"path": str(folder), "trainable": of.trainable, "dtype": dtype}
        model = ModelConfig.model_validate({**settings, "lora": LoraConfig(rank=8, target_modules=targets)})
        engine = {"scoring": of.scoring, "batch_invariant": of.batch_invariant, "max_loras": 2 * most}
        speed = {"device": device, "num_threads": threads, "micro_batch_tokens": 4096 if device == "cpu" else 16_384}
        performance = PerformanceConfig.model_validate({**speed, "vllm": VllmConfig.model_validate(engine)})
        if of.evaluator == "vllm":
            from trainers.evaluators.vllm.evaluator import VllmEvaluator

            self._evaluator = VllmEvaluator(
                model, performance, tokenizer, num_labels=2, seed=0, probe_rank=of.probe_rank
            )
        else:
            from trainers.evaluators.transformers.evaluator import TransformersEvaluator

            self._evaluator = TransformersEvaluator(model, performance, tokenizer, num_labels=2, seed=0)

    def step(self, number: int, size: Size) -> None:
        """Take one step: 2K probes of B examples, and the update."""
        if self._evaluator is None:
            assert self._loop is not None
            self._loop.step(number, size)
            return
        directions = [drawn(self._law, 1, number, k, rank=1) for k in range(size.directions)]
        probes = [Probe(z, sign * SMOOTHING) for z in directions for sign in (1.0, -1.0)]
        losses_PB = self._evaluator.probe(self._examples[: size.batch], probes)
        differences_K = (losses_PB[::2] - losses_PB[1::2]).sum(axis=1)
        self._evaluator.apply([(z, STEP_SIZE * float(d)) for z, d in zip(directions, differences_K, strict=True)])

    def close(self) -> None:
        """Give back what an engine holds."""
        if self._evaluator is not None:
            self._evaluator.close()


def timed(
    entries: dict[str, Entry], sizes: Sequence[Size], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[tuple[str, Size], float]:
    """Take steps in turn, `repeats` times after a warm-up; return median seconds by name and size."""
    medians = {}
    for size in sizes:
        times: dict[str, list[float]] = {name: [] for name in entries}
        for repeat in range(repeats + 1):
            for name, entry in entries.items():
                started = clock()
                entry.step(repeat, size)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                if repeat:
                    times[name].append(clock() - started)
        medians |= {(name, size): statistics.median(seconds) for name, seconds in times.items()}
    return medians


def peak_gigabytes(name: str, arguments: argparse.Namespace, folder: Path) -> float:
    """Take two steps of one contestant in a fresh process and return its peak memory: the GPU's, or its own."""
    given = [f"--{key.replace('_', '-')}" for key in ("gpu",) if getattr(arguments, key)]
    sizes = ["--directions", str(max(arguments.directions)), "--batch-sizes", str(max(arguments.batch_sizes))]
    command = [sys.executable, __file__, "--peak-of", name, "--model", str(folder), "--shape", arguments.shape]
    threads = ["--threads", str(arguments.threads)]
    run = subprocess.run([*command, *threads, *sizes, *given], capture_output=True, text=True, check=True)
    return float(run.stdout.split()[-1])


def print_peak(entry: Entry, size: Size, device: str) -> None:
    """Take two steps and print the peak memory in GB."""
    for number in range(2):
        entry.step(number, size)
    if device != "cpu":
        free, total = torch.cuda.mem_get_info()
        print((total - free) / 1e9)
        return
    status = Path("/proc/self/status").read_text()  # getrusage would count the process that started this one
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e6)  # pyright: ignore[reportOptionalSubscript]


def table_of(
    seconds: dict[tuple[str, Size], float], peaks: dict[str, float], examples: Sequence[Example], title: str
) -> Table:
    """Return one row for each contestant and size: seconds, tokens a second and the ratio to the padded loop."""
    table = Table(title=title)
    for column in ("", "K", "B", "step s", "tokens/s", "padded loop / this", "peak GB"):
        table.add_column(column, justify="left" if not column else "right")
    for (name, size), value in seconds.items():
        tokens = 2 * size.directions * sum(len(example.prompt_ids) for example in examples[: size.batch])
        loop = seconds.get(("padded loop", size))
        ratio = f"{loop / value:.2f}" if loop else ""
        peak = f"{peaks[name]:.2f}" if name in peaks else ""
        table.add_row(
            name, str(size.directions), str(size.batch), f"{value:.3f}", f"{tokens / value:,.0f}", ratio, peak
        )
    return table


def parsed() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--directions", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--processor-time", action="store_true", help="in place of wall time, on a machine not idle")
    parser.add_argument("--only", choices=CONTESTANTS, nargs="+", default=list(CONTESTANTS))
    parser.add_argument("--gpu", action="store_true", help="on cuda in bfloat16, with the questions of a GPU")
    parser.add_argument("--peak-of", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds-of", choices=HIDDEN, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)  # for that process: it must not make one itself
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    device, shape = "cuda" if arguments.gpu else "cpu", SHAPES[arguments.shape]
    sizes = [Size(k, b) for k in arguments.directions for b in arguments.batch_sizes]
    examples = examples_of(max(arguments.batch_sizes), shape.vocabulary)
    names = [name for name in arguments.only if find_spec("vllm") or CONTESTANTS[name].evaluator != "vllm"]

    def opened(name: str, folder: Path, most: int = max(arguments.directions)) -> Entry:
        return Entry((CONTESTANTS | HIDDEN)[name], folder, examples, device, arguments.threads, most)

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or Path(temporary)
        if arguments.peak_of:
            print_peak(opened(arguments.peak_of, folder), Size(max(arguments.directions), len(examples)), device)
            return
        if arguments.seconds_of:
            entry = {arguments.seconds_of: opened(arguments.seconds_of, folder)}
            print(*timed(entry, sizes, arguments.repeats).values())
            return
        save_model(folder, shape)
        if arguments.gpu:
            from evaluators_gpu import report  # pyright: ignore[reportMissingImports]

            report(arguments, shape, folder, names, opened)
            return
        entries = {name: opened(name, folder) for name in names}
        clock = time.process_time if arguments.processor_time else time.perf_counter
        seconds = timed(entries, sizes, arguments.repeats, clock)
        for entry in entries.values():
            entry.close()
        peaks = {name: peak_gigabytes(name, arguments, folder) for name in names}
    title = (
        f"Llama, {shape.hidden} × {shape.layers}, float32, {arguments.threads} threads, medians of {arguments.repeats}"
    )
    console = Console(width=100)
    console.print(table_of(seconds, peaks, examples, title))
    if {WRITTEN, BATCHED} <= set(names):
        ratios = {of: seconds[WRITTEN, of] / seconds[BATCHED, of] for of in sizes}
        found = ", ".join(f"{ratio:.2f} (K {of.directions}, B {of.batch})" for of, ratio in ratios.items())
        console.print(f"low-rank probes, seconds written one after the other / in one batch: {found}")


if __name__ == "__main__":
    main()
