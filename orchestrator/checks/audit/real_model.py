"""The first check of an audit on a real model: a small random Llama, which is written, loaded and evaluated as usual.

The run without the canary is taken to its end. For every step t, a second run opens a copy of the first log, cut after
t releases. It replays them, which gives it the same weights, and takes step t with the canary in the batch.
"""

from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator.checks.audit.cases import AuditCase
from orchestrator.checks.audit.replay import length
from orchestrator.checks.audit.result import ModelResult
from orchestrator.checks.audit.stub import GivenBatches, NoNoise
from orchestrator.checks.random_project import NUM_STEPS, write_project
from trainers.mechanism.release_log import LOG_NAME
from trainers.workspace import open_workspace

_OTHERS, _CANARY = list(range(8)), 8
_BATCHES: list[list[int]] = [[], [0], _OTHERS, [2, 5], _OTHERS * 4]


def replay_real_model(folder: Path) -> ModelResult:
    """Write the model, replay with and without a canary, and compare the sums up to rounding in the model."""
    case = AuditCase(write_project(folder), noise_multiplier=1.0, planned_steps=NUM_STEPS)
    with closing(open_workspace(case.config)) as workspace:
        parameters = workspace.evaluator.parameter_count
        sums_TK = case.releases(workspace, folder / "without", sampler=GivenBatches(_BATCHES), noise=NoNoise())
        lines = (folder / "without" / LOG_NAME).read_bytes().splitlines(keepends=True)
        shifts = []
        for step, batch in enumerate(_BATCHES):
            copy = folder / f"with-{step}"
            copy.mkdir()
            (copy / LOG_NAME).write_bytes(b"".join(lines[: 1 + 2 * step]))
            batches = [[*batch, _CANARY], *([] for _ in _BATCHES[step + 1 :])]  # the later steps are not compared
            with_TK = case.releases(workspace, copy, sampler=GivenBatches(batches), noise=NoNoise())
            shifts.append(length(case, with_TK[step] - sums_TK[step]))
    method: Any = case.config.method  # C and λ are numbers here, not schedules
    largest_batch = max(map(len, _BATCHES)) + 1
    rounding = largest_batch * workspace.rounding / (method.smoothing * method.clip_norm * method.num_directions**0.5)
    findings = [
        f"step {step}: the canary moved the sum by {shift:.6g} C, not at most 1 C and {rounding:.1g} C of rounding"
        for step, shift in enumerate(shifts)
        if shift > 1.0 + rounding
    ]
    return ModelResult(
        parameters=parameters,
        comparisons=len(shifts),
        largest_shift=max(shifts),
        rounding=rounding,
        findings=findings,
    )
