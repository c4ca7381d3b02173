"""The second check of an audit: whether the noise and the batches of real runs follow the declared law.

A residual is a released number minus the exact sum. All runs share one public seed, and each is killed once between a
reservation and its release and then resumed. So noise from the seed, restarted noise and noise used twice are found.
"""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from orchestrator.checks.audit.cases import DIRECTION, AuditCase
from orchestrator.checks.audit.residual_tests import batch_findings, residual_findings
from orchestrator.checks.audit.result import ResidualResult
from orchestrator.checks.audit.stub import Killed, LinearLosses, quiet_slopes, stub_workspace
from trainers.directions import Direction, direction_values
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP, NORM_UNITS, MechanismPlan
from trainers.mechanism.tokens import LocalTokens

NUM_VALUES = 24_000
NUM_RUNS = 8
_MOST_ROWS = 1000


def num_steps(case: AuditCase, num_values: int = NUM_VALUES) -> int:
    """Return the steps of each run, so that all runs together give `num_values` residuals."""
    return -(-num_values // (NUM_RUNS * case.plan.num_coordinates))


def audit_residuals(
    case: AuditCase,
    folder: Path,
    advance: Callable[[int], None] = lambda steps: None,
    *,
    num_values: int = NUM_VALUES,
) -> ResidualResult:
    """Take the runs and check their residuals; `advance` is called with the number of steps after each run."""
    steps = num_steps(case, num_values)
    case = case.with_method(num_steps=steps)
    played = []
    q = case.plan.sampling_prob
    num_rows = min(_MOST_ROWS, max(2, round(1 / q)))  # so few that batches are often empty
    for number in range(NUM_RUNS):
        played.append(_play(case, num_rows, folder / str(number)))
        advance(steps)
    residuals_RTK, sizes_RT = (np.stack(part) for part in zip(*played, strict=True))
    empty_RT = sizes_RT == 0
    scale = case.law.noise_multiplier * GRID_UNITS_PER_CLIP
    law, findings = residual_findings(residuals_RTK, empty_RT, _public_streams(case), case.noise, scale)
    sampling_ratio, of_batches = batch_findings(sizes_RT.ravel(), num_rows, q)
    return ResidualResult(
        values=law.num_values,
        empty_batches=int(empty_RT.sum()),
        ks_pvalue=law.ks_pvalue,
        scale_ratio=law.scale_ratio,
        sampling_ratio=sampling_ratio,
        findings=findings + of_batches,
    )


def quiet_rows(slopes_NK: np.ndarray, plan: MechanismPlan) -> np.ndarray:
    """Return what quiet rows add to a sum, int64 [N, `num_coordinates`] in units, without the code of the step."""
    units_NK = np.trunc(slopes_NK * plan.vector_units).astype(np.int64)
    if not plan.has_norm:
        return units_NK
    measure_N1 = (1.0 - np.linalg.norm(slopes_NK, axis=1, keepdims=True)) * NORM_UNITS  # rounding may move it by 1
    return np.hstack([units_NK, np.trunc(measure_N1).astype(np.int64)])


def exact_sums(batches: dict[int, list[int]], units_NK: np.ndarray, num_steps: int) -> np.ndarray:
    """Return the sum of the rows in each step's batch, int64 [T, `num_coordinates`] in units."""
    return np.stack([units_NK[batches.get(step, [])].sum(axis=0) for step in range(num_steps)])


def _play(case: AuditCase, num_rows: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Take one run to its end, with a kill half way; return residuals [T, K] in units and sizes of batches [T]."""
    steps = case.config.method.num_steps
    slopes_NK = quiet_slopes(num_rows, case.plan.num_directions)
    evaluator = LinearLosses(slopes_NK, killed_at=steps // 2)
    workspace = stub_workspace(range(num_rows), evaluator)
    tokens = LocalTokens(steps + 1)  # the interrupted step costs one
    try:
        released_TK = case.releases(workspace, folder, tokens)
    except Killed:
        released_TK = case.releases(workspace, folder, tokens)
    sizes_T = np.array([len(evaluator.batches.get(step, [])) for step in range(steps)])
    return released_TK - exact_sums(evaluator.batches, quiet_rows(slopes_NK, case.plan), steps), sizes_T


def _public_streams(case: AuditCase) -> dict[str, np.ndarray]:
    """Return numbers that the public seed determines, by name: float64, one value for each residual."""
    seed, steps, K = case.config.method.seed, case.plan.num_steps, case.plan.num_coordinates
    count = NUM_RUNS * steps * K
    stdlib = random.Random(seed)
    drawn = [Direction(seed, step, k, DIRECTION) for step in range(steps) for k in range(K)]
    along = np.array([direction_values(z, "theta", 1)[0] for z in drawn], dtype=np.float64)
    return {
        "numpy's generator at the public seed": np.random.default_rng(seed).standard_normal(count),
        "numpy's old generator at the public seed": np.random.RandomState(seed).standard_normal(count),
        "Python's generator at the public seed": np.array([stdlib.gauss(0.0, 1.0) for _ in range(count)]),
        "the directions": np.tile(along, NUM_RUNS),
    }
