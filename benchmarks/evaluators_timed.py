"""The contestants of evaluators.py and evaluators_gpu.py: how they take steps, what they need of time and memory."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from measuring import median_seconds, number_from_fresh_process, peak_resident_gigabytes, result_table
from padded_loop import SMOOTHING, STEP_SIZE, PaddedLoop, Size
from rich.table import Table
from transformers import PreTrainedTokenizerFast

from trainers.config import LoraConfig, ModelConfig, PerformanceConfig, VllmConfig
from trainers.directions.frames import DirectionLaw, raw_direction
from trainers.evaluators.base import Example, LossEvaluator, Probe

SCRIPT = str(Path(__file__).with_name("evaluators.py"))


class Contestant(NamedTuple):
    """A way to take steps: the evaluator (None: the padded loop), what trains, and how vLLM scores and reads probes."""

    evaluator: str | None
    trainable: str = "full"
    scoring: str = "fast"
    batch_invariant: bool = False
    probe_rank: int = 0
    graphs: bool = False


WRITTEN, BATCHED, LORA = "vllm, low-rank written", "vllm, low-rank batch", "vllm, LoRA batch"
GRAPHS = "vllm fast, graphs"
CONTESTANTS = {
    "padded loop": Contestant(None),
    "transformers": Contestant("transformers"),
    "vllm reference": Contestant("vllm", scoring="reference"),
    "vllm fast": Contestant("vllm"),
    "transformers, LoRA": Contestant("transformers", "lora"),
    LORA: Contestant("vllm", "lora"),
    "transformers, low-rank": Contestant("transformers", "all-linear"),
    WRITTEN: Contestant("vllm", "all-linear"),
    BATCHED: Contestant("vllm", "all-linear", probe_rank=1),
}
IN_A_FRESH_PROCESS = {
    GRAPHS: Contestant("vllm", graphs=True),
    "vllm fast, batch-invariant": Contestant("vllm", batch_invariant=True),
    f"{LORA}, batch-invariant": Contestant("vllm", "lora", batch_invariant=True),
}
"""For GPUs alone. vLLM reads the batch-invariant mode when it starts: it cannot share a process with the others."""


class EvaluatorSteps:
    """Steps by an evaluator of the product."""

    def __init__(self, evaluator: LossEvaluator, law: DirectionLaw, examples: Sequence[Example]) -> None:
        self._evaluator, self._examples = evaluator, examples
        self._law: DirectionLaw = law

    def step(self, number: int, size: Size) -> None:
        """Take one step: 2K probes of B examples, and the update."""
        directions = [raw_direction(self._law, 1, number, k, rank=1) for k in range(size.directions)]
        probes = [Probe(z, sign * SMOOTHING) for z in directions for sign in (1.0, -1.0)]
        losses_PB = self._evaluator.probe(self._examples[: size.batch], probes)
        differences_K = (losses_PB[::2] - losses_PB[1::2]).sum(axis=1)
        self._evaluator.apply([(z, STEP_SIZE * float(d)) for z, d in zip(directions, differences_K, strict=True)])

    def close(self) -> None:
        """Release what the engine holds."""
        self._evaluator.close()


def open_contestant(
    name: str, folder: Path, examples: Sequence[Example], device: str, threads: int, most_directions: int
) -> PaddedLoop | EvaluatorSteps:
    """Load the model in `folder` for a contestant that takes steps of at most `most_directions` directions."""
    of = (CONTESTANTS | IN_A_FRESH_PROCESS)[name]
    dtype = "bfloat16" if device != "cpu" else "float32"
    if of.evaluator is None:
        return PaddedLoop(folder, examples, device, dtype)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    lora = LoraConfig(rank=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    settings = {"path": str(folder), "trainable": of.trainable, "dtype": dtype, "lora": lora}
    model = ModelConfig.model_validate(settings)
    engine = {"scoring": of.scoring, "batch_invariant": of.batch_invariant, "max_loras": 2 * most_directions}
    engine |= {"graphs": of.graphs}
    speed = {"device": device, "num_threads": threads, "micro_batch_tokens": 4096 if device == "cpu" else 16_384}
    performance = PerformanceConfig.model_validate({**speed, "vllm": VllmConfig.model_validate(engine)})
    law: DirectionLaw = "low-rank" if of.trainable == "all-linear" else "rademacher"
    if of.evaluator == "vllm":
        from trainers.evaluators.vllm.evaluator import VllmEvaluator

        vllm = VllmEvaluator(model, performance, tokenizer, num_labels=2, seed=0, probe_rank=of.probe_rank)
        return EvaluatorSteps(vllm, law, examples)
    from trainers.evaluators.transformers.evaluator import TransformersEvaluator

    return EvaluatorSteps(TransformersEvaluator(model, performance, tokenizer, num_labels=2, seed=0), law, examples)


def seconds_by_size(
    opened: dict[str, PaddedLoop | EvaluatorSteps],
    sizes: Sequence[Size],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[tuple[str, Size], float]:
    """Return the median seconds of a step by contestant and size; at each size the contestants take turns."""
    medians = {}
    for size in sizes:
        steps = {name: lambda number, one=one, size=size: one.step(number, size) for name, one in opened.items()}
        medians |= {(name, size): value for name, value in median_seconds(steps, repeats, clock).items()}
    return medians


def peak_gigabytes(name: str, arguments: argparse.Namespace, folder: Path) -> float:
    """Return the peak memory of a new process that takes two of the largest steps."""
    largest = ("--directions", max(arguments.directions), "--batch-sizes", max(arguments.batch_sizes))
    given = ("--model", folder, "--shape", arguments.shape, "--threads", arguments.threads)
    return number_from_fresh_process(SCRIPT, "--peak-of", name, *given, *largest)


def print_peak(opened: PaddedLoop | EvaluatorSteps, size: Size, device: str) -> None:
    """Take two steps and print the peak memory in GB."""
    for number in range(2):
        opened.step(number, size)
    print(memory_gigabytes(device))


def memory_gigabytes(device: str) -> float:
    """Return this process's peak memory on a CPU, and all that a GPU's processes hold now, in GB."""
    if device == "cpu":
        return peak_resident_gigabytes()
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 1e9


def table_of(
    seconds: dict[tuple[str, Size], float], peaks: dict[str, float], examples: Sequence[Example], title: str
) -> Table:
    """Return one row for each contestant and size: seconds, tokens a second and the ratio to the padded loop."""
    table = result_table(title, "", "K", "B", "step s", "tokens/s", "padded loop / this", "peak GB")
    for (name, size), value in seconds.items():
        tokens = 2 * size.directions * sum(len(example.prompt_ids) for example in examples[: size.batch])
        loop = seconds.get(("padded loop", size))
        ratio = f"{loop / value:.2f}" if loop else ""
        numbers = (f"{value:.3f}", f"{tokens / value:,.0f}", ratio, f"{peaks[name]:.2f}")
        table.add_row(name, str(size.directions), str(size.batch), *numbers)
    return table
