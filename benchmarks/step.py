"""One private step against its floor and against the loop of the research codes, in one process, as ratios of medians.

    python benchmarks/step.py --data ../shared/data/sst2/train.tsv

The model has OPT-125M's shape with random weights; prompts have the lengths of the given file; B = 64, K = 1, full
parameters, float32. Three things are timed in turn, several times, on the same batch of examples:

* floor: two forward passes of the prepared batch with logits at the label's place only; no two-sided step can beat it;
* step: all of ours: token, reservation, batch, preparation, two probes, clip, exact noise, fsynced release, update;
* reference: as MeZO and DPZero do it: the batch padded, logits everywhere, and `torch.normal` regenerated from a seed
  for +λ, −2λ, +λ and the update.

Peak memory is that of a fresh process for each of the last two.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from trainers.config import MethodConfig, ModelConfig, PerformanceConfig
from trainers.directions import Direction
from trainers.directions.counter import Kind
from trainers.evaluators.base import Example
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.mechanism.noise import ExactNoise
from trainers.mechanism.plan import MechanismPlan
from trainers.mechanism.release_log import ReleaseLog
from trainers.mechanism.tokens import LocalTokens
from trainers.mechanism.units import groups_of
from trainers.run.method import Method
from trainers.run.step import StepContext, take_step
from trainers.workers.ranks import Ranks

SMOOTHING, CLIP_NORM, NOISE_MULTIPLIER, LEARNING_RATE = 1e-3, 300.0, 1.2, 1e-7
PROMPT, OPTIONS = " It was", (" terrible", " great")


class SameBatch:
    """A sampler that hands out the first `size` rows each time, so that every timing sees the same tokens."""

    def __init__(self, size: int) -> None:
        self._size = size

    def draw(self) -> np.ndarray:
        return np.arange(self._size)


def examples_from(path: Path, batch_size: int, seed: int) -> tuple[list[Example], PreTrainedTokenizerFast]:
    """Tokenize a random batch of sentences with a byte-level BPE trained on the file itself."""
    sentences = [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.train_from_iterator(
        sentences, BpeTrainer(vocab_size=16_000, special_tokens=["<pad>", "</s>"], show_progress=False)
    )
    options = tuple((bpe.encode(option).ids[0],) for option in OPTIONS)
    chosen = np.random.default_rng(seed).choice(len(sentences), batch_size, replace=False)
    examples = [Example((1, *bpe.encode(sentences[n].strip() + PROMPT).ids), options, int(n) % 2) for n in chosen]
    return examples, PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="</s>")


def save_opt_125m(folder: Path) -> Path:
    """Write a random model of OPT-125M's shape."""
    torch.manual_seed(0)
    OPTForCausalLM(OPTConfig()).save_pretrained(folder)  # the defaults of the configuration are OPT-125M's
    return folder


def our_context(
    folder: Path, examples: list[Example], tokenizer: PreTrainedTokenizerFast, kind: Kind, num_steps: int
) -> StepContext:
    """Return a step as a run takes it, with a fixed batch."""
    evaluator = TransformersEvaluator(
        ModelConfig(path=str(folder)), PerformanceConfig(), tokenizer, num_labels=0, seed=0
    )
    plan = MechanismPlan(0.01, float(len(examples)), 1, num_steps, CLIP_NORM, NOISE_MULTIPLIER)
    log = ReleaseLog(Path(tempfile.mkdtemp(dir=folder)) / f"{kind}.jsonl", {})
    config = MethodConfig.model_validate(
        {
            "name": "dp-zo",
            "num_steps": num_steps,
            "smoothing": SMOOTHING,
            "clip_norm": CLIP_NORM,
            "learning_rate": LEARNING_RATE,
            "direction": kind,
        }
    )
    return StepContext(
        plan=plan,
        method=Method(config, plan, evaluator, log),
        evaluator=evaluator,
        groups=groups_of(examples, None),
        sampler=SameBatch(len(examples)),
        noise=ExactNoise(),
        tokens=LocalTokens(num_steps),
        log=log,
        ranks=Ranks(),
    )


class ReferenceLoop:
    """The loop of MeZO and DPZero: padded batch, logits everywhere, normals regenerated tensor by tensor."""

    def __init__(self, folder: Path, examples: list[Example]) -> None:
        self._model = OPTForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        longest = max(len(example.prompt_ids) for example in examples)
        rows = [list(example.prompt_ids) + [0] * (longest - len(example.prompt_ids)) for example in examples]
        self._ids_BL = torch.tensor(rows)
        self._last_B = torch.tensor([len(example.prompt_ids) - 1 for example in examples])
        self._options_BO = torch.tensor([[option[0] for option in example.option_ids] for example in examples])
        self._labels_B = torch.tensor([example.label for example in examples])

    @torch.inference_mode()
    def step(self, number: int) -> None:
        self._perturb(number, SMOOTHING)
        plus_B = self._losses()
        self._perturb(number, -2 * SMOOTHING)
        minus_B = self._losses()
        self._perturb(number, SMOOTHING)
        clipped_B = ((plus_B - minus_B) / (2 * SMOOTHING)).clamp(-CLIP_NORM, CLIP_NORM)
        noise = torch.normal(0.0, NOISE_MULTIPLIER * CLIP_NORM, (1,))
        self._perturb(number, -LEARNING_RATE * float(clipped_B.sum() + noise) / len(clipped_B))

    def _losses(self) -> torch.Tensor:
        mask_BL = torch.arange(self._ids_BL.shape[1]) <= self._last_B[:, None]
        logits_BLV = self._model(input_ids=self._ids_BL, attention_mask=mask_BL.long()).logits
        at_label_BV = logits_BLV[torch.arange(len(self._last_B)), self._last_B]
        return torch.nn.functional.cross_entropy(
            at_label_BV.gather(1, self._options_BO), self._labels_B, reduction="none"
        )

    def _perturb(self, seed: int, scale: float) -> None:
        torch.manual_seed(seed)
        for parameter in self._model.parameters():
            z = torch.normal(mean=0.0, std=1.0, size=parameter.size(), dtype=parameter.dtype)
            parameter.add_(z, alpha=scale)


def floor_of(context: StepContext) -> Callable[[int], None]:
    """Return two label-only forward passes of the batch, prepared beforehand."""
    evaluator = context.evaluator
    assert isinstance(evaluator, TransformersEvaluator)
    examples = [example for group in context.groups for example in group]
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


def medians(contestants: dict[str, Callable[[int], None]], repeats: int) -> dict[str, float]:
    """Time the contestants in turn, `repeats` times after a warm-up; seconds."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run(repeat)
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(arguments: argparse.Namespace, folder: Path, what: str) -> float:
    """Run two steps of one contestant in a fresh process and return its peak memory in GB."""
    command = [
        sys.executable,
        __file__,
        "--data",
        str(arguments.data),
        "--peak-memory-of",
        what,
        "--model",
        str(folder),
    ]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("DPZO_BENCH_DATA", "../shared/data")) / "sst2" / "train.tsv"
    parser.add_argument("--data", type=Path, default=default, help="TSV file with the sentences in its first column")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peak-memory-of", choices=["rademacher", "gaussian", "reference"], help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)  # for that process: it must not make one itself
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or save_opt_125m(Path(temporary))
        examples, tokenizer = examples_from(arguments.data, arguments.batch_size, seed=0)
        if arguments.peak_memory_of:
            report_peak(arguments, folder, examples, tokenizer)
        else:
            report(arguments, folder, examples, tokenizer)


def report_peak(
    arguments: argparse.Namespace, folder: Path, examples: list[Example], tokenizer: PreTrainedTokenizerFast
) -> None:
    """Take two steps and print the peak resident memory in GB."""
    if arguments.peak_memory_of == "reference":
        step = ReferenceLoop(folder, examples).step
    else:
        context = our_context(folder, examples, tokenizer, arguments.peak_memory_of, 2)

        def step(number: int) -> None:
            take_step(context, number)

    for number in range(2):
        step(number)
    status = Path("/proc/self/status").read_text()  # getrusage would count the process that started this one
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e6)  # pyright: ignore[reportOptionalSubscript]


def report(
    arguments: argparse.Namespace, folder: Path, examples: list[Example], tokenizer: PreTrainedTokenizerFast
) -> None:
    """Time everything and print one table."""
    steps = arguments.repeats + 1
    kinds: tuple[Kind, ...] = ("rademacher", "gaussian")
    ours = {kind: our_context(folder, examples, tokenizer, kind, steps) for kind in kinds}
    contestants: dict[str, Callable[[int], None]] = {
        "two label-only forward passes (floor)": floor_of(ours["rademacher"]),
        "our step, Rademacher": lambda n: take_step(ours["rademacher"], n),
        "our step, Gaussian": lambda n: take_step(ours["gaussian"], n),
        "three perturbing passes, Rademacher": perturbing(ours["rademacher"]),
        "three perturbing passes, Gaussian": perturbing(ours["gaussian"]),
        "reference loop": ReferenceLoop(folder, examples).step,
    }
    seconds = medians(contestants, arguments.repeats)
    floor = seconds["two label-only forward passes (floor)"]
    peaks = {
        "our step, Rademacher": peak_memory(arguments, folder, "rademacher"),
        "our step, Gaussian": peak_memory(arguments, folder, "gaussian"),
        "reference loop": peak_memory(arguments, folder, "reference"),
    }
    lengths = [len(example.prompt_ids) for example in examples]
    table = Table(
        title=f"OPT-125M's shape, B = {len(examples)}, K = 1, {sum(lengths)} tokens (longest {max(lengths)}), "
        f"{arguments.threads} threads, medians of {arguments.repeats}"
    )
    for column in ("", "seconds", "× floor", "reference / this", "peak GB"):
        table.add_column(column, justify="left" if not column else "right")
    for name, value in seconds.items():
        peak = f"{peaks[name]:.2f}" if name in peaks else ""
        table.add_row(name, f"{value:.3f}", f"{value / floor:.3f}", f"{seconds['reference loop'] / value:.2f}", peak)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
