"""The checks of the evaluators on generated examples: each one alone, and both against each other."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from orchestrator.checks.doctor.findings import Finding, first_line
from trainers.config import EvaluatorName, RunConfig
from trainers.data.prompts import public_examples
from trainers.data.tokenization import load_tokenizer
from trainers.directions.frames import raw_direction
from trainers.evaluators.base import Example, LossEvaluator, Probe
from trainers.evaluators.vllm.checks import require_supported
from trainers.evaluators.vllm.package import installed_vllm
from trainers.run.method import smallest_resolution
from trainers.workspace import load_evaluator

NUM_EXAMPLES = 8
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
"""Largest allowed difference between two evaluators' losses of an example, nats."""
_HINTS = {
    "vllm": "Use performance.evaluator: transformers, and report this with the versions above",
    "transformers": "Check model.path, model.trainable and lora.target_modules; raise method.smoothing",
}


@dataclass(frozen=True)
class _Measured:
    """What an evaluator returned: losses at θ and at the probes, whether it restored θ, θ's digest after an update."""

    losses_B: np.ndarray
    probed_PB: np.ndarray
    restored: bool
    updated: str


def check_evaluators(config: RunConfig) -> Iterator[Finding]:
    """Yield the findings of each installed evaluator, and whether two evaluators agree."""
    try:
        tokenizer = load_tokenizer(config.model.path)
        examples = public_examples(config.task, tokenizer, NUM_EXAMPLES)
    except ValueError as error:
        yield Finding(name="model", state="failed", found=first_line(error))
        return
    measured: dict[str, _Measured] = {}
    for name in _installed():
        speed = config.performance.model_copy(update={"evaluator": name})
        chosen = config.model_copy(update={"performance": speed})
        try:
            if name == "vllm":
                require_supported(chosen, examples)
            with closing(load_evaluator(chosen, tokenizer)) as evaluator:
                measured[name] = _measure(evaluator, examples, _probes(config))
            yield from _alone(name, measured[name])
        except (ValueError, RuntimeError, ImportError, OSError) as error:
            needed = name == config.performance.evaluator
            yield Finding(name=name, state="failed" if needed else "absent", found=first_line(error))
    if len(measured) == 2:
        yield from _together(measured["transformers"], measured["vllm"], TOLERANCE[config.model.dtype])


def _installed() -> list[EvaluatorName]:
    return ["transformers", "vllm"] if installed_vllm() else ["transformers"]


def _probes(config: RunConfig) -> list[Probe]:
    """Return a probe to each side along a direction that both evaluators draw with the same bits.

    It is a low-rank direction if the run's are, because an engine may evaluate those in another way.
    """
    method = config.method
    law = "low-rank" if method.direction == "low-rank" else "rademacher"
    direction = raw_direction(law, method.seed, 0, 0, method.direction_rank)
    return [Probe(direction, sign * smallest_resolution(config.method)[0]) for sign in (1.0, -1.0)]


def _measure(evaluator: LossEvaluator, examples: Sequence[Example], probes: Sequence[Probe]) -> _Measured:
    digest, losses_B = evaluator.state_digest(), evaluator.losses(examples)
    probed_PB = evaluator.probe(examples, probes)
    restored = evaluator.state_digest() == digest and np.array_equal(evaluator.losses(examples), losses_B)
    evaluator.apply([(probes[0].direction, probes[0].scale)])
    updated = evaluator.state_digest()
    evaluator.reset()
    restored &= evaluator.state_digest() == digest and np.array_equal(evaluator.losses(examples), losses_B)
    return _Measured(losses_B, probed_PB, restored, updated)


def _alone(name: str, measured: _Measured) -> Iterator[Finding]:
    moved = float(np.abs(measured.probed_PB - measured.losses_B).max())
    seen = f"by up to {moved:.2g} nats" if moved else "no loss moved: the model does not use the trained parameters"
    yield _finding(f"{name}: a probe moves it", moved > 0, seen, _HINTS[name])
    wrong = "weights or losses differ after a probe, or after an update and a reset"
    yield _finding(
        f"{name}: θ restored", measured.restored, "bit for bit" if measured.restored else wrong, _HINTS[name]
    )


def _together(one: _Measured, other: _Measured, tolerance: float) -> Iterator[Finding]:
    worst = max(
        float(np.abs(one.losses_B - other.losses_B).max()), float(np.abs(one.probed_PB - other.probed_PB).max())
    )
    seen = f"within {worst:.1e} nats on {one.losses_B.size} examples, {tolerance:g} allowed"
    yield _finding("evaluators agree", worst <= tolerance, seen, _HINTS["vllm"])
    equal = one.updated == other.updated
    seen = "the same weights, bit for bit" if equal else "other weights: a replay would not rebuild the model"
    yield _finding("the same update", equal, seen, _HINTS["vllm"])


def _finding(name: str, good: bool, seen: str, hint: str) -> Finding:
    return Finding(name=name, state="ok" if good else "failed", found=seen, hint=None if good else hint)
