"""What `python benchmarks/evaluators.py --gpu` measures: all that needs a GPU, within minutes, into one JSON file.

* card: bytes a second of the fused pass (write one probe, add K directions) and of a copy; a large matrix product;
* steps of every contestant at each K × B, and of LoRA with 64 and 128 adapters: seconds, and share of the product;
* the batch-invariant mode, and CUDA graphs, as contestants of their own;
* one engine for 8 trials, in one batch and in turns;
* the proof: are adapters multiplied as they should be, and by how much do neighbours move a loss?

Each is a process of its own. One that fails leaves its error, and what the time does not suffice for is named: small
models come first. No GPU has run this yet: on a CPU, the writing of the models alone was tried.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from evaluators_timed import GRAPHS, IN_A_FRESH_PROCESS, LORA, SCRIPT, memory_gigabytes, open_contestant
from evaluators_timed import seconds_by_size as timed
from measuring import median_seconds
from padded_loop import SMOOTHING, Size
from random_llama import SHAPES, Shape, examples_of, save_model

from trainers.directions import Direction
from trainers.directions.apply import add_directions, write_perturbed
from trainers.evaluators.base import Example, Probe
from trainers.evaluators.self_test import self_test
from trainers.evaluators.vllm.service import EngineService, Request

ORDER = ("0.5b", "7b", "1.5b", "3b")
CARD, MODEL, SHARED, PROOF = "card", "model", "shared engine", "proof"
LEAST_S = 15  # for one more measurement
MANY_ADAPTERS = (32, 64)  # directions; each needs two adapters
KERNEL_ELEMENTS, KERNEL_DIRECTIONS = 1 << 30, 16
PRODUCT = 8192  # rows and columns of the matrices whose product shows what the card can do
NUM_TRIALS = 8


def suite(arguments: argparse.Namespace) -> None:
    """Measure everything until the time is over, and write the results after each measurement."""
    end = time.monotonic() + 60 * arguments.minutes
    found: dict[str, Any] = {"not reached": [], "models": {}}

    def measured(what: str, shape: str, folder: str) -> Any:
        if (left := end - time.monotonic()) < LEAST_S:
            found["not reached"].append(f"{shape}: {what}")
            return None
        answer = _from_fresh_process(what, shape, folder, arguments, left)
        print(f"{shape}, {what}: {answer}", flush=True)
        return answer

    parts = [*arguments.only, *IN_A_FRESH_PROCESS, SHARED, PROOF]
    if arguments.device == "cuda":
        found[CARD] = measured(CARD, ORDER[0], "")
    else:
        parts.remove(GRAPHS)
    for shape in arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            of_model = found["models"][shape] = {MODEL: measured(MODEL, shape, folder)}
            for what in parts:
                of_model[what] = measured(what, shape, folder)
                arguments.json.write_text(json.dumps(found, indent=1))
    print(f"written: {arguments.json}")


def measure(what: str, arguments: argparse.Namespace) -> Any:
    """Return one measurement, as values of JSON; called in a process of its own."""
    shape, device = SHAPES[arguments.shape], arguments.device
    if what == CARD:
        return _card(arguments.repeats)
    if what == MODEL:
        with torch.device(device):
            save_model(arguments.model, shape)
        return {"parameters": _parameters(shape)}
    examples = examples_of(max(arguments.batch_sizes), shape.vocabulary)
    if what == SHARED:
        return _shared(arguments, examples)
    if what == PROOF:
        return _proof(arguments, examples)
    return _steps(what, arguments, shape, examples)


def _from_fresh_process(what: str, shape: str, folder: str, arguments: argparse.Namespace, seconds: float) -> Any:
    sizes = ["--directions", *arguments.directions, "--batch-sizes", *arguments.batch_sizes]
    given = ["--gpu", "--device", arguments.device, "--repeats", arguments.repeats, "--threads", arguments.threads]
    command = [sys.executable, SCRIPT, "--measure", what, "--shape", shape, "--model", folder, *given, *sizes]
    try:
        run = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"error": "out of time"}
    if run.returncode:
        return {"error": (run.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(run.stdout.strip().splitlines()[-1])


def _steps(name: str, arguments: argparse.Namespace, shape: Shape, examples: Sequence[Example]) -> dict[str, Any]:
    """Return the seconds of a step by size, the share of a product's speed, and the memory that it takes."""
    device = arguments.device
    sizes = [Size(k, b) for k in arguments.directions for b in arguments.batch_sizes]
    if "batch" in name:
        sizes += [Size(k, min(arguments.batch_sizes)) for k in MANY_ADAPTERS]
    most = max(size.directions for size in sizes)
    entry = open_contestant(name, arguments.model, examples, device, arguments.threads, most)
    seconds = timed({name: entry}, sizes, arguments.repeats)
    multiplied = _parameters(shape) - shape.vocabulary * shape.hidden
    peak = _product() if device == "cuda" else None
    rows = []
    for (_, size), value in seconds.items():
        tokens = 2 * size.directions * sum(len(example.prompt_ids) for example in examples[: size.batch])
        row = {"K": size.directions, "B": size.batch, "seconds": value, "tokens_per_s": tokens / value}
        rows.append(row | ({"share_of_product": 2 * multiplied * tokens / value / peak} if peak else {}))
    return {"steps": rows, "peak_gb": memory_gigabytes(device)}


def _shared(arguments: argparse.Namespace, examples: Sequence[Example]) -> dict[str, float]:
    """Return the seconds in which 8 trials of one engine have the losses of a step, in one batch and in turns."""
    directions, batch = max(arguments.directions), list(examples[: min(arguments.batch_sizes)])
    name = LORA if arguments.device == "cpu" else f"{LORA}, batch-invariant"
    entry: Any = open_contestant(
        name, arguments.model, examples, arguments.device, arguments.threads, NUM_TRIALS * directions
    )
    service = EngineService(entry._evaluator, num_slots=2 * NUM_TRIALS * directions, mixes=True)

    def ask(*requests: Request) -> None:
        service._waiting.extend(requests)
        while service._waiting:
            service._turn()

    def step(number: int) -> None:
        probes = [
            Probe(Direction(1, number, k, "rademacher"), s * SMOOTHING) for k in range(directions) for s in (1.0, -1.0)
        ]
        trials = range(1, NUM_TRIALS + 1)
        ask(*(Request(trial, "_rpc", ("zo_call", "probe", batch, probes), {}) for trial in trials))

    def in_turns(number: int) -> None:
        service._mixes = False
        step(number)
        service._mixes = True

    ask(*(Request(trial, "join", (), {}) for trial in range(1, NUM_TRIALS + 1)))
    return median_seconds({"one batch": step, "in turns": in_turns}, arguments.repeats)


def _proof(arguments: argparse.Namespace, examples: Sequence[Example]) -> dict[str, Any]:
    """Return how the engine's own proofs end: an adapter's kernel is proved when the engine opens."""
    name = LORA if arguments.device == "cpu" else f"{LORA}, batch-invariant"
    entry: Any = open_contestant(name, arguments.model, examples, arguments.device, arguments.threads, 1)
    probes = [Probe(Direction(1, 0, 0, "rademacher"), sign * 1e-2) for sign in (1.0, -1.0)]
    entry._evaluator.apply([(Direction(2, 0, 0, "rademacher"), 0.02)])
    moved = self_test(entry._evaluator, examples[:8], probes, max_tokens=128)
    return {"adapters": "proved", "neighbours_move_a_loss_by_nats": moved}


def _card(repeats: int) -> dict[str, Any]:
    """Return bandwidths: a write reads 4 bytes and writes 2, an update reads and writes 4."""
    master = {"weight": torch.randn(KERNEL_ELEMENTS, device="cuda")}
    live = {"weight": torch.empty(KERNEL_ELEMENTS, dtype=torch.bfloat16, device="cuda")}
    other = torch.empty_like(master["weight"])
    copy = 8 * KERNEL_ELEMENTS / _seconds(lambda: other.copy_(master["weight"]), repeats)
    found: dict[str, Any] = {"name": torch.cuda.get_device_properties(0).name, "copy_gb_per_s": copy / 1e9}
    for kind in ("rademacher", "gaussian"):
        directions = [Direction(1, 2, k, kind) for k in range(KERNEL_DIRECTIONS)]
        terms = [(direction, 1e-9) for direction in directions]

        def write(z: Direction = directions[0]) -> None:
            write_perturbed(live, master, z, 1e-3)

        def add(update: Any = terms) -> None:
            add_directions(master, update)

        for what, width, run in (("write, bfloat16", 6, write), (f"add {KERNEL_DIRECTIONS}", 8, add)):
            reached = width * KERNEL_ELEMENTS / _seconds(run, repeats)
            found[f"{kind}, {what}"] = {"gb_per_s": reached / 1e9, "share_of_copy": reached / copy}
    return found | {"product_tflop_per_s": _product() / 1e12}


def _product() -> float:
    """Return the floating-point operations a second of a large matrix product in bfloat16."""
    left, right = (torch.randn(PRODUCT, PRODUCT, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * PRODUCT**3 / _seconds(lambda: left @ right, 9)


def _parameters(shape: Shape) -> int:
    layer = 4 * shape.hidden**2 + 3 * shape.hidden * shape.feed_forward
    return shape.layers * layer + shape.vocabulary * shape.hidden


def _seconds(run: Callable[[], object], repeats: int) -> float:
    return median_seconds({"": lambda _: run()}, repeats)[""]
