"""One private step, compared with the least that it can cost and with the step of the research codes.

    python benchmarks/step.py --data path/to/sst2/train.tsv

The model has OPT-125M's shape and random weights, or is the one of `--model`; all its parameters train. The prompts are
a random batch of the file's sentences: B = 64, K = 1. The contestants take turns in one process, on the same batch. The
floor and our step run in bfloat16, too: half precision takes other paths through a CPU's libraries.

* floor: two forward passes of the prepared batch with logits at the label's place only; a two-sided step needs them;
* our step: token, reservation, batch, preparation, two probes, clip, exact noise, fsynced release, update;
* three perturbing passes: what our step adds to its forward passes;
* reference: the step of the research codes (padded_loop.py).

Peak memory is that of a new process for each step.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from measuring import median_seconds, number_from_fresh_process, peak_resident_gigabytes, result_table
from padded_loop import CLIP_NORM, NOISE_MULTIPLIER, SMOOTHING, PaddedLoop, Size
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, OPTConfig, OPTForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from orchestrator.checks.audit.stub import GivenBatches
from trainers.config import MethodConfig, ModelConfig, PerformanceConfig
from trainers.directions import Direction
from trainers.directions.counter import Kind
from trainers.evaluators.base import Example
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.mechanism.noise import ExactNoise
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.release_log import ReleaseLog
from trainers.mechanism.tokens import LocalTokens
from trainers.mechanism.units import units_of
from trainers.run.method import Method
from trainers.run.step import StepContext, take_step
from trainers.workers.ranks import Ranks

LEARNING_RATE = 1e-7
PROMPT, OPTIONS = " It was", (" terrible", " great")


def sentences_of(path: Path) -> list[str]:
    return [line.split("\t")[0].strip() for line in path.read_text().splitlines()[1:]]


def examples_from(
    sentences: list[str], tokenizer: PreTrainedTokenizerBase, batch_size: int, seed: int
) -> list[Example]:
    """Tokenize a random batch of sentences."""

    def ids_of(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    options = tuple(ids_of(option)[:1] for option in OPTIONS)
    chosen = np.random.default_rng(seed).choice(len(sentences), batch_size, replace=False)
    return [Example((1, *ids_of(sentences[n] + PROMPT)), options, int(n) % 2) for n in chosen]


def save_opt_125m(folder: Path, sentences: list[str]) -> Path:
    """Write a random model of OPT-125M's shape, and a byte-level BPE trained on the sentences."""
    torch.manual_seed(0)
    OPTForCausalLM(OPTConfig()).save_pretrained(folder)  # the defaults of the configuration are OPT-125M's
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.train_from_iterator(
        sentences, BpeTrainer(vocab_size=16_000, special_tokens=["<pad>", "</s>"], show_progress=False)
    )
    PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="</s>").save_pretrained(folder)
    return folder


def our_context(
    folder: Path,
    examples: list[Example],
    tokenizer: PreTrainedTokenizerBase,
    kind: Kind,
    num_steps: int,
    model: Mapping[str, Any] = MappingProxyType({}),
    method: Mapping[str, Any] = MappingProxyType({}),
    kept_states_gb: float = 0.0,
) -> StepContext:
    """Return a step as a run takes it, with a fixed batch; `model` and `method` hold further settings."""
    evaluator = TransformersEvaluator(
        ModelConfig.model_validate({"path": str(folder), **model}),
        PerformanceConfig(kept_states_gb=kept_states_gb),
        tokenizer,
        num_labels=0,
        seed=0,
    )
    config = MethodConfig.model_validate(
        {
            "name": "dp-zo",
            "num_directions": 1,
            "num_steps": num_steps,
            "smoothing": SMOOTHING,
            "clip_norm": CLIP_NORM,
            "learning_rate": LEARNING_RATE,
            "direction": kind,
            **method,
        }
    )
    plan = MechanismPlan(0.01, float(len(examples)), config.num_directions, num_steps, CLIP_NORM, NOISE_MULTIPLIER)
    log = ReleaseLog(Path(tempfile.mkdtemp()) / f"{kind}.jsonl", {})
    return StepContext(
        plan=plan,
        method=Method(config, plan, evaluator, log),
        evaluator=evaluator,
        units=units_of(examples, None),
        sampler=GivenBatches(itertools.repeat(range(len(examples)))),  # each timing sees the same tokens
        noise=ExactNoise(),
        tokens=LocalTokens(num_steps),
        log=log,
        ranks=Ranks(),
    )


def reference(folder: Path, examples: list[Example]) -> Callable[[int], None]:
    """Return the step of the research codes along one direction."""
    return partial(PaddedLoop(folder, examples).step, size=Size(1, len(examples)))


def floor_of(context: StepContext) -> Callable[[int], None]:
    """Return two label-only forward passes of the batch, prepared beforehand."""
    evaluator = context.evaluator
    assert isinstance(evaluator, TransformersEvaluator)
    examples = [example for group in context.units for example in group]
    prepared = evaluator.prepare(examples)

    @torch.inference_mode()
    def forward_twice(_: int) -> None:
        for _ in range(2):
            evaluator.scores(prepared, len(examples))

    return forward_twice


def perturbing(context: StepContext) -> Callable[[int], None]:
    """Return the three passes over the parameters that a step adds to its forward passes."""
    evaluator = context.evaluator
    assert isinstance(evaluator, TransformersEvaluator)

    @torch.inference_mode()
    def passes(number: int) -> None:
        direction = Direction(1, number, 0, context.method.propose(0)[0].direction.kind)
        evaluator.parameters.perturb(direction, SMOOTHING)
        evaluator.parameters.perturb(direction, -SMOOTHING)
        evaluator.parameters.add([(direction, 1e-9)])

    return passes


def peak_memory(arguments: argparse.Namespace, folder: Path, what: str) -> float:
    """Return the peak memory in GB of a new process that takes two steps of one contestant."""
    return number_from_fresh_process(
        __file__, "--data", arguments.data, "--peak-memory-of", what, "--model", folder, "--threads", arguments.threads
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="TSV file with the sentences in its first column")
    parser.add_argument("--batch-size", type=int, default=64, help="B")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each contestant")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="torch.set_num_threads")
    parser.add_argument("--model", type=Path, help="folder of a causal model with its tokenizer, instead of OPT-125M's")
    peaks = ["rademacher", "gaussian", "bfloat16", "reference"]
    parser.add_argument("--peak-memory-of", choices=peaks, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        sentences = sentences_of(arguments.data)
        folder = arguments.model or save_opt_125m(Path(temporary), sentences)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        examples = examples_from(sentences, tokenizer, arguments.batch_size, seed=0)
        if arguments.peak_memory_of:
            report_peak(arguments, folder, examples, tokenizer)
        else:
            report(arguments, folder, examples, tokenizer)


def report_peak(
    arguments: argparse.Namespace, folder: Path, examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Take two steps and print the peak resident memory in GB."""
    if arguments.peak_memory_of == "reference":
        step = reference(folder, examples)
    elif arguments.peak_memory_of == "bfloat16":
        step = partial(take_step, our_context(folder, examples, tokenizer, "rademacher", 2, {"dtype": "bfloat16"}))
    else:
        step = partial(take_step, our_context(folder, examples, tokenizer, arguments.peak_memory_of, 2))
    for number in range(2):
        step(number)
    print(peak_resident_gigabytes())


def report(
    arguments: argparse.Namespace, folder: Path, examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Time everything and print one table."""
    steps = arguments.repeats + 1
    kinds: tuple[Kind, ...] = ("rademacher", "gaussian")
    ours = {kind: our_context(folder, examples, tokenizer, kind, steps) for kind in kinds}
    half = our_context(folder, examples, tokenizer, "rademacher", steps, {"dtype": "bfloat16"})
    contestants: dict[str, Callable[[int], None]] = {
        "two label-only forward passes (floor)": floor_of(ours["rademacher"]),
        "our step, Rademacher": partial(take_step, ours["rademacher"]),
        "our step, Gaussian": partial(take_step, ours["gaussian"]),
        "two label-only forward passes, bfloat16": floor_of(half),
        "our step, Rademacher, bfloat16": partial(take_step, half),
        "three perturbing passes, Rademacher": perturbing(ours["rademacher"]),
        "three perturbing passes, Gaussian": perturbing(ours["gaussian"]),
        "reference loop": reference(folder, examples),
    }
    seconds = median_seconds(contestants, arguments.repeats)
    floor = seconds["two label-only forward passes (floor)"]
    peaks = {
        "our step, Rademacher": peak_memory(arguments, folder, "rademacher"),
        "our step, Gaussian": peak_memory(arguments, folder, "gaussian"),
        "our step, Rademacher, bfloat16": peak_memory(arguments, folder, "bfloat16"),
        "reference loop": peak_memory(arguments, folder, "reference"),
    }
    lengths = [len(example.prompt_ids) for example in examples]
    name = arguments.model.name if arguments.model else "OPT-125M's shape"
    title = (
        f"{name}, B = {len(examples)}, K = 1, {sum(lengths)} tokens (longest {max(lengths)}), "
        f"{arguments.threads} threads, medians of {arguments.repeats}"
    )
    table = result_table(title, "", "seconds", "× floor", "reference / this", "peak GB")
    for name, value in seconds.items():
        peak = f"{peaks[name]:.2f}" if name in peaks else ""
        table.add_row(name, f"{value:.3f}", f"{value / floor:.3f}", f"{seconds['reference loop'] / value:.2f}", peak)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
