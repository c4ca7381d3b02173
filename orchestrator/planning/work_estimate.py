"""What a plan costs in forward passes and, roughly, in time, before a model is loaded or a private row is read.

A forward pass is measured: one matrix product of each shape in the model's files, over as many tokens as a pass has.
The tokens of an example come from public rows; without any, every example is taken to be as long as task.max_tokens
allows, which short prompts are far from, and the time is an upper bound. Otherwise it is right within a factor of two.

Several workers divide the examples or the probes; the weights are perturbed once for each shard of the examples. The
workers' CPUs are assumed to be like this machine's.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from orchestrator.config.models import SweepConfig
from trainers.config import RunConfig
from trainers.data.sources import read_rows
from trainers.methods.catalogue import METHODS
from trainers.tasks.templates import Template

TOKENS_PER_WORD = 1.4  # subword tokenizers on English
PASS_PER_PRODUCTS = 1.5  # a forward pass, with its attention and its norms, over its matrix products alone
TOKENS_MEASURED = 512  # a longer pass takes as long for each token
SECONDS_PER_PERTURBED_PARAMETER = 1e-9  # one pass over the weights
SECONDS_PER_GRADIENT_VALUE = 1.2e-8  # of one example: computed, clipped and added up
SECONDS_PER_PASS = 0.01  # overhead of a forward pass
SAMPLE_ROWS = 200
PASSES_OF_A_GRADIENT = 3  # a backward pass costs as much as two forward passes


@dataclass(frozen=True)
class Estimate:
    """Work of a plan; `seconds` is None where the model's files are not at hand or the device is not this CPU.

    `cpus_per_worker` is what the time was estimated with, where workers take the steps. `is_upper_bound` says that no
    public row told how long the examples are.
    """

    forward_passes: int
    examples_forwarded: float
    seconds: float | None
    cpus_per_worker: float
    is_upper_bound: bool = False


def estimate(config: RunConfig, num_steps: int, concurrent: int) -> Estimate:
    """Return the work of `num_steps` steps of the configured method, over all trials, `concurrent` of them at once."""
    first_order = METHODS[config.method.name].order == "first"
    passes = passes_of_a_step(config) * num_steps
    examples = passes * config.privacy.expected_batch_size
    cpus = _cpus_of_a_worker(config, concurrent)
    shapes = _tensor_shapes(Path(config.model.path))
    if shapes is None or config.performance.device != "cpu":
        return Estimate(passes, examples, None, cpus)
    matrices = [tuple(shape) for name, shape in shapes.items() if len(shape) > 1 and _reads_every_token(name)]
    linear = sum(map(math.prod, matrices))
    total = sum(math.prod(shape) for shape in shapes.values())
    public_tokens = _tokens_of_public_rows(config)
    tokens = config.task.max_tokens if public_tokens is None else public_tokens
    in_a_pass = min(config.performance.micro_batch_tokens, config.privacy.expected_batch_size * tokens)
    forward_s = examples * tokens * _seconds_per_token(matrices, max(1, min(TOKENS_MEASURED, round(in_a_pass))))
    touched = {"full": total, "all-linear": linear, "lora": 0}[config.model.trainable]  # an adapter's are few
    if first_order:
        copies = config.privacy.expected_batch_size if METHODS[config.method.name].private else 1.0
        perturbing_s = num_steps * touched * (1 + copies) * SECONDS_PER_GRADIENT_VALUE
    else:
        perturbing_s = 1.5 * passes * touched * SECONDS_PER_PERTURBED_PARAMETER
    workers = config.resources.workers
    group_size = config.resources.group_size(workers)
    overhead_s = passes * SECONDS_PER_PASS / concurrent / group_size
    work_s = forward_s + perturbing_s * workers / group_size
    seconds = work_s / _machines(config, concurrent, cpus) + overhead_s
    return Estimate(passes, examples, seconds, cpus, is_upper_bound=public_tokens is None)


def passes_of_a_step(config: RunConfig) -> int:
    """Return the forward passes of the batch that a step takes; a backward pass counts as two."""
    return PASSES_OF_A_GRADIENT if METHODS[config.method.name].order == "first" else config.method.num_probes


def _cpus_of_a_worker(config: RunConfig, concurrent: int) -> float:
    """Return the CPUs that each worker of a run, or of `concurrent` trials, will have."""
    share = _cores() // (concurrent * config.resources.most_workers)
    default = max(1, share) if isinstance(config, SweepConfig) else 1
    return config.resources.cpus_per_worker or config.performance.num_threads or default


def _machines(config: RunConfig, concurrent: int, cpus: float) -> float:
    """Return how many machines like this one the workers keep busy; 1 without workers."""
    if not config.resources.is_distributed:
        return 1.0
    return concurrent * config.resources.workers * cpus / _cores()


def _cores() -> int:
    return os.cpu_count() or 1


def _tensor_shapes(folder: Path) -> dict[str, list[int]] | None:
    """Read tensor names and shapes from the headers of a folder's safetensors files; None where there are none."""
    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                shapes |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):  # such as the pointer that git-lfs leaves; loading the model will say so
            return None
    return shapes or None


def _reads_every_token(name: str) -> bool:
    """Return whether a pass multiplies every token by this weight: an embedding is looked up, a head reads few."""
    return "embed" not in name and "lm_head" not in name


def _tokens_of_public_rows(config: RunConfig) -> float | None:
    """Return the mean number of tokens of public rows, at most task.max_tokens; None where there are none."""
    source = config.data.validation
    if source is None or config.score.on == "private" or not Path(source).is_file():
        return None
    rows = read_rows(source, config.task.columns, "data.validation")[:SAMPLE_ROWS]
    template = Template.parse(config.task.template, "task.template")
    words = [len(template.fill(row, "data.validation").split()) for row in rows]
    return min(config.task.max_tokens, TOKENS_PER_WORD * sum(words) / len(words))


def _seconds_per_token(matrices: Sequence[tuple[int, ...]], tokens: int) -> float:
    """Return what a token costs in a forward pass of so many tokens, from one measured product of each shape."""
    products_s = sum(count * _seconds_of_product(shape, tokens) for shape, count in Counter(matrices).items())
    return PASS_PER_PRODUCTS * products_s / tokens


def _seconds_of_product(shape: Sequence[int], tokens: int) -> float:
    """Measure the product of so many tokens with one weight, the best of a few."""
    inputs, weight = (
        np.ones((tokens, math.prod(shape[1:])), np.float32),
        np.ones((shape[0], math.prod(shape[1:])), np.float32),
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        np.matmul(inputs, weight.T)
        times.append(time.perf_counter() - start)
    return min(times)
