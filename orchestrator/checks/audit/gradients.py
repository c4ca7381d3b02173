"""First-order methods on a small random model: how far one example moves a gradient, its noise, and its batches.

A release is read where a run keeps it: the first step's noisy mean gradient is the momentum in the snapshot.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.checks.audit.residual_tests import batch_findings, check_law, law_findings
from orchestrator.checks.audit.result import ExtraResult
from orchestrator.checks.audit.stub import GivenBatches
from orchestrator.checks.random_project import write_project
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.catalogue import METHODS
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workspace import open_workspace

_CLIP_NORM = 0.01  # far below the norm of each gradient
_ROUNDING = 1e-3  # of the clip: momentum is float32
_NUM_EXAMPLES = 25_000  # of which two batches are counted
_MOMENTUM = {"dp-sgd": ("momentum_buffer/", 1.0), "dp-adamw": ("exp_avg/", 0.1)}  # name, and its share of a gradient


class _NoGradientNoise:
    def add(self, total: Any, std: float) -> None:
        """Add nothing."""


def audit_gradients(name: str, sampling_prob: float, noise_multiplier: float, folder: Path) -> ExtraResult:
    """Take a step with and without one example, and two by the real sampler that release their noise alone."""
    values = write_project(folder).model_dump()
    *others, canary = range(values["data"]["num_examples"])
    batch_size = sampling_prob * values["data"]["num_examples"]
    values["method"] = {"name": name, "num_steps": 1, "clip_norm": _CLIP_NORM}
    values["method"] |= {"momentum": 0.5} if name == "dp-sgd" else {}
    values["privacy"] = {"noise_multiplier": noise_multiplier, "expected_batch_size": batch_size}
    config = RunConfig.model_validate(values)
    sizes = []

    def count(units: Sequence[Any]) -> Iterator[dict[str, Any]]:
        sizes.append(len(units))
        return iter(())

    with closing(open_workspace(config)) as workspace:
        without_D, with_D = (
            _released(
                config, workspace, folder / f"{len(batch)}", sampler=GivenBatches([batch]), noise=_NoGradientNoise()
            )
            for batch in (others, [*others, canary])
        )
        gradients: Any = count
        many = replace(workspace, examples=workspace.examples[:1] * _NUM_EXAMPLES, gradients=gradients)
        first_D, second_D = (_released(config, many, folder / f"noise-{number}") for number in range(2))
    shift = float(np.linalg.norm(with_D - without_D))
    law = check_law(np.concatenate([first_D, second_D]), "gaussian", noise_multiplier)
    ratio, findings = batch_findings(np.array(sizes), _NUM_EXAMPLES, mechanism_plan(config, 1.0).sampling_prob)
    findings += law_findings(law)
    findings += [f"one example moved the sum by {shift:.6g} C"] if shift > 1.0 + _ROUNDING else []
    findings += ["two runs have the same noise"] if np.mean(first_D == second_D) > 0.01 else []
    detail = f"shift {shift:.3f}, noise × {law.scale_ratio:.3f}, q × {ratio:.3f}"
    return ExtraResult(title=METHODS[name].title, detail=detail, findings=findings)


def _released(config: RunConfig, workspace: Workspace, folder: Path, **stubs: Any) -> np.ndarray:
    """Take a real run of one step and return its release, float64 [d] in multiples of C."""
    from safetensors.numpy import load_file

    from trainers.first_order.run import FirstOrderRun

    plan, tokens = mechanism_plan(config, config.privacy.noise_multiplier), LocalTokens(1)
    run = FirstOrderRun(RunContext(workspace, config, plan, Tokens(tokens, tokens), folder), **stubs)
    with run.log:
        list(run.segments())
    kind, share = _MOMENTUM[config.method.name]
    (snapshot,) = folder.glob("snapshot-*.safetensors")
    momentum = [tensor.ravel() for key, tensor in load_file(snapshot).items() if key.startswith(kind)]
    return np.concatenate(momentum).astype(np.float64) * plan.expected_batch_size / (share * _CLIP_NORM)
