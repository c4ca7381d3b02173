"""What `python benchmarks/evaluators.py --gpu` measures on a GPU besides the steps themselves.

No GPU has run this yet: only its parts that also run on a CPU have been tried.

* kernels: bytes a second of the fused pass (write one probe; add K directions) as a share of a plain copy on the card;
* forward: floating-point operations a second of whole steps as a share of a large matrix product on the card;
* batch-invariant mode: the time of the same steps with it, as a ratio;
* adapters: steps of K = 32 and 64, which put 64 and 128 adapters into one batch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from evaluators_timed import INVARIANT, SCRIPT, open_contestant, peak_gigabytes, seconds_by_size, table_of
from measuring import median_seconds, number_from_fresh_process
from padded_loop import Size
from random_llama import Shape, examples_of
from rich.console import Console
from rich.table import Table

from trainers.directions import Direction
from trainers.directions.apply import add_directions, write_perturbed

MANY_ADAPTERS = (32, 64)  # directions; each needs two adapters
KERNEL_ELEMENTS, KERNEL_DIRECTIONS = 1 << 30, 16
PRODUCT = 8192  # rows and columns of the matrices whose product shows what the card can do


def report(arguments: argparse.Namespace, shape: Shape, folder: Path, names: Sequence[str]) -> None:
    """Print the steps of every contestant, one after the other, and then the measurements above."""
    console = Console(width=110)
    sizes = [Size(k, b) for k in arguments.directions for b in arguments.batch_sizes]
    examples = examples_of(max(arguments.batch_sizes), shape.vocabulary)
    seconds: dict[tuple[str, Size], float] = {}
    for name in names:
        wide = [Size(k, min(arguments.batch_sizes)) for k in MANY_ADAPTERS] if "batch" in name else []
        most = max(size.directions for size in [*sizes, *wide])
        entry = open_contestant(name, folder, examples, "cuda", arguments.threads, most)
        seconds |= seconds_by_size({name: entry}, [*sizes, *wide], arguments.repeats)
        entry.close()
        del entry
        torch.cuda.empty_cache()
    peaks = {name: peak_gigabytes(name, arguments, folder) for name in names}
    card = torch.cuda.get_device_properties(0).name
    title = f"Llama, {arguments.shape}, bfloat16 on {card}, medians of {arguments.repeats}"
    console.print(table_of(seconds, peaks, examples, title))
    table = Table(show_header=False)
    for row in [*_kernels(arguments.repeats), *_forward(shape, examples, seconds, sizes[-1])]:
        table.add_row(*row)
    if "vllm fast" in names:
        slower = _seconds_batch_invariant(arguments, folder, sizes[-1]) / seconds["vllm fast", sizes[-1]]
        table.add_row("batch-invariant mode", f"{slower:.2f} × the time of a step")
    console.print(table)


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
            write_perturbed(live, master, z, 1e-3)

        def add(update: Any = terms) -> None:
            add_directions(master, update)

        for what, width, run in (("write, bfloat16", 6, write), (f"add {KERNEL_DIRECTIONS}", 8, add)):
            reached = width * KERNEL_ELEMENTS / _seconds(run, repeats)
            rows.append((f"{kind}, {what}", f"{reached / 1e9:,.0f} GB/s, {reached / copy:.0%} of the copy"))
    return rows


def _forward(
    shape: Shape, examples: Sequence[Any], seconds: dict[tuple[str, Size], float], size: Size
) -> list[tuple[str, str]]:
    """Return the share of the card's arithmetic that whole steps reach, counting the layers' products alone."""
    left, right = (torch.randn(PRODUCT, PRODUCT, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    peak = 2 * PRODUCT**3 / _seconds(lambda: left @ right, 9)
    multiplied = shape.layers * (4 * shape.hidden**2 + 3 * shape.hidden * shape.feed_forward)
    tokens = 2 * size.directions * sum(len(example.prompt_ids) for example in examples[: size.batch])
    shares = {name: 2 * multiplied * tokens / value / peak for (name, of), value in seconds.items() if of == size}
    label = f"K = {size.directions}, B = {size.batch}"
    product = ("matrix product, bfloat16", f"{peak / 1e12:,.0f} TFLOP/s")
    return [product, *((f"{name}, {label}", f"{share:.0%}") for name, share in shares.items())]


def _seconds_batch_invariant(arguments: argparse.Namespace, folder: Path, size: Size) -> float:
    given = ("--gpu", "--shape", arguments.shape, "--repeats", arguments.repeats, "--model", folder)
    steps = ("--directions", size.directions, "--batch-sizes", size.batch)
    return number_from_fresh_process(SCRIPT, "--seconds-of", INVARIANT, *given, *steps)


def _seconds(run: Callable[[], object], repeats: int) -> float:
    return median_seconds({"": lambda _: run()}, repeats)[""]
