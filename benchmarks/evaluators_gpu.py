"""What is asked of the evaluators on a GPU besides: `python benchmarks/evaluators.py --gpu --shape 7b`.

No GPU has run this yet; it was written with the tests of the evaluators on CPUs as its only support.

* kernels: bytes a second of the fused pass (write one probe; add K directions) as a share of a plain copy on the card;
* forward: floating-point operations a second of `losses` as a share of a large matrix product on the card;
* batch-invariant mode: the same steps with it, as a ratio, in a process of its own (vLLM reads it at its start);
* adapters: steps of K = 32 and 64, so 64 and 128 adapters in one batch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from padded_loop import Size
from random_llama import Shape, examples_of
from rich.console import Console
from rich.table import Table

from trainers.directions import Direction
from trainers.directions.apply import add_to_all, write_all

if TYPE_CHECKING:
    from evaluators import Entry  # pyright: ignore[reportMissingImports]

MANY_ADAPTERS = (32, 64)  # directions; each needs two adapters
KERNEL_ELEMENTS, KERNEL_DIRECTIONS = 1 << 30, 16
PRODUCT = 8192  # rows and columns of the matrices that tell the card's arithmetic


def report(
    arguments: argparse.Namespace, shape: Shape, folder: Path, names: Sequence[str], opened: Callable[..., Entry]
) -> None:
    """Print the steps of every contestant, one after the other, and then the questions above."""
    import evaluators  # pyright: ignore[reportMissingImports]

    console, sizes = Console(width=110), _sizes(arguments)
    examples = examples_of(max(arguments.batch_sizes), shape.vocabulary)
    seconds: dict[tuple[str, Size], float] = {}
    for name in names:
        wide = [Size(k, min(arguments.batch_sizes)) for k in MANY_ADAPTERS] if "batch" in name else []
        entry = opened(name, folder, most=MANY_ADAPTERS[-1] if wide else max(arguments.directions))
        seconds |= evaluators.timed({name: entry}, [*sizes, *wide], arguments.repeats)
        entry.close()
        del entry
        torch.cuda.empty_cache()
    peaks = {name: evaluators.peak_gigabytes(name, arguments, folder) for name in names}
    card = torch.cuda.get_device_properties(0).name
    title = f"Llama, {arguments.shape}, bfloat16 on {card}, medians of {arguments.repeats}"
    console.print(evaluators.table_of(seconds, peaks, examples, title))
    rows = [*_kernels(arguments.repeats), *_forward(shape, examples, seconds, sizes)]
    if "vllm fast" in names:
        rows.append(_batch_invariant(arguments, folder, seconds, sizes))
    console.print(_table(rows))


def _sizes(arguments: argparse.Namespace) -> list[Size]:

    return [Size(k, b) for k in arguments.directions for b in arguments.batch_sizes]


def _kernels(repeats: int) -> list[tuple[str, str]]:
    """Return bandwidths: a write reads 4 bytes and writes 2, an update reads and writes 4."""
    master = {"weight": torch.randn(KERNEL_ELEMENTS, device="cuda")}
    live = {"weight": torch.empty(KERNEL_ELEMENTS, dtype=torch.bfloat16, device="cuda")}
    other = torch.empty_like(master["weight"])
    copy = 8 * KERNEL_ELEMENTS / _seconds(lambda: other.copy_(master["weight"]), repeats)
    rows = [("copy of float32", f"{copy / 1e9:,.0f} GB/s")]
    for kind in ("rademacher", "gaussian"):
        directions = [Direction(1, 2, k, kind) for k in range(KERNEL_DIRECTIONS)]
        terms = [(direction, 1e-9) for direction in directions]

        def write(z: Direction = directions[0]) -> None:
            write_all(live, master, z, 1e-3)

        def add(update: Any = terms) -> None:
            add_to_all(master, update)

        for what, width, run in (("write, bfloat16", 6, write), (f"add {KERNEL_DIRECTIONS}", 8, add)):
            reached = width * KERNEL_ELEMENTS / _seconds(run, repeats)
            rows.append((f"{kind}, {what}", f"{reached / 1e9:,.0f} GB/s, {reached / copy:.0%} of the copy"))
    return rows


def _forward(
    shape: Shape, examples: Sequence[Any], seconds: dict[tuple[str, Size], float], sizes: Sequence[Size]
) -> list[tuple[str, str]]:
    """Return what share of the card's arithmetic whole steps reach, counting the layers' products alone."""
    left, right = (torch.randn(PRODUCT, PRODUCT, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    peak = 2 * PRODUCT**3 / _seconds(lambda: left @ right, 9)
    multiplied = shape.layers * (4 * shape.hidden**2 + 3 * shape.hidden * shape.feed_forward)
    rows = [("matrix product, bfloat16", f"{peak / 1e12:,.0f} TFLOP/s")]
    for (name, size), value in seconds.items():
        if size == sizes[-1]:
            tokens = 2 * size.directions * sum(len(example.prompt_ids) for example in examples[: size.batch])
            rows.append(
                (f"{name}, K = {size.directions}, B = {size.batch}", f"{2 * multiplied * tokens / value / peak:.0%}")
            )
    return rows


def _batch_invariant(
    arguments: argparse.Namespace, folder: Path, seconds: dict[tuple[str, Size], float], sizes: Sequence[Size]
) -> tuple[str, str]:
    size = sizes[-1]
    script = str(Path(__file__).with_name("evaluators.py"))
    given = ["--gpu", "--shape", arguments.shape, "--repeats", str(arguments.repeats), "--model", str(folder)]
    steps = ["--directions", str(size.directions), "--batch-sizes", str(size.batch)]
    command = [sys.executable, script, "--seconds-of", "vllm fast, batch-invariant", *given, *steps]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    slower = float(printed.split()[-1]) / seconds["vllm fast", size]
    return "batch-invariant mode", f"{slower:.2f} × the time of a step"


def _seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call on the device, after a warm-up."""
    times = []
    for repeat in range(repeats + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if repeat:
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def _table(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(show_header=False)
    for name, found in rows:
        table.add_row(name, found)
    return table
