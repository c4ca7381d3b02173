"""The first check of an audit: how far one example can move the sum of a step.

Two runs take the same real steps with the same directions and batches, once with the canary and once without. There is
no noise, so that they release the exact sums, and their difference is compared with the clip in integers. The canaries
have losses as a failing model may produce them: NaN, infinities, overflow, a million times the clip.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from orchestrator.checks.audit.cases import AuditCase
from orchestrator.checks.audit.result import ReplayResult
from orchestrator.checks.audit.stub import (
    HUGE,
    GivenBatches,
    LinearLosses,
    NoNoise,
    quiet_slopes,
    row_example,
    stub_workspace,
)
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP
from trainers.methods.catalogue import METHODS
from trainers.run import step as real_step

_NUM_QUIET = 6
_NUM_DIRECTIONS = 8
_MOST_FINDINGS = 3
_RANKS = (2, 3)


def audit_replay(case: AuditCase, folder: Path) -> ReplayResult:
    """Compare the sums of all batches with and without each canary, and with one canary in place of another."""
    largest_allowed = METHODS[case.config.method.name].num_directions[1]
    canaries, slopes_NK, bases_N = _rows(min(largest_allowed, _NUM_DIRECTIONS))
    batches = _batches()
    pairs = list(itertools.product(range(len(batches)), range(len(canaries))))
    first = _NUM_QUIET + 2
    case = case.with_method(num_directions=slopes_NK.shape[1], num_steps=len(pairs))
    evaluator = LinearLosses(slopes_NK, bases_N)
    without = _sums(case, evaluator, [batches[b] for b, _ in pairs], folder / "without")
    present = _sums(case, evaluator, [[*batches[b], first + c] for b, c in pairs], folder / "with")
    shifts = [
        (length(case, present[i] - without[i]), 1, _where(batches[b], canaries[c])) for i, (b, c) in enumerate(pairs)
    ]
    shifts += list(_swaps(case, present, canaries, batches))
    findings = [
        f"{where} moved the sum by {shift:.12g} C, not at most {bound} C"
        for shift, bound, where in shifts
        if shift > bound
    ]
    findings = findings[:_MOST_FINDINGS] + list(_shard_findings(case, evaluator, batches, first))[:1]
    return ReplayResult(
        comparisons=len(shifts), largest_shift=max(shift / bound for shift, bound, _ in shifts), findings=findings
    )


def length(case: AuditCase, difference_K: np.ndarray) -> float:
    """Return the norm of a difference of sums in multiples of C; it is above 1 exactly if the integers exceed C."""
    units = [int(value) for value in difference_K]
    if case.noise == "laplace":
        return sum(map(abs, units)) / GRID_UNITS_PER_CLIP
    squared = sum(unit * unit for unit in units)
    exact = math.sqrt(squared) / GRID_UNITS_PER_CLIP
    return exact if squared <= GRID_UNITS_PER_CLIP**2 else max(exact, math.nextafter(1.0, 2.0))


def _rows(num_directions: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the names of the canaries, and slopes and bases of all rows: quiet ones, two odd ones, the canaries."""
    ones = np.ones(num_directions)
    first = np.eye(1, num_directions)[0]
    signs = (-1.0) ** np.arange(num_directions)
    canaries: dict[str, tuple[np.ndarray, float]] = {
        "NaN": (ones * np.nan, 0.0),
        "infinite difference": (ones * np.inf, 0.0),
        "infinite loss": (ones, np.inf),
        "NaN in one direction": (np.where(first > 0, np.nan, HUGE), 0.0),
        "infinity in one direction": (np.where(first > 0, np.inf, HUGE), 0.0),
        "huge": (HUGE * ones, 0.0),
        "huge and negative": (-HUGE * ones, 0.0),
        "huge with both signs": (HUGE * signs, 0.0),
        "overflowing": (1e305 * ones, 0.0),
        "huge in one direction": (HUGE * first, 0.0),
        "at the clip": (ones * num_directions**-0.5, 0.0),
        "above the clip by one rounding": (ones * np.nextafter(num_directions**-0.5, 1.0), 0.0),
        "of the clip's size in each direction": (ones * (1.0 - 2.0**-20), 0.0),
        "vanishing": (5e-324 * ones, 0.0),
        "zero": (0.0 * ones, 0.0),
    }
    odd = [ones * np.nan, HUGE * signs]
    slopes = np.stack([*quiet_slopes(_NUM_QUIET, num_directions), *odd, *(slope for slope, _ in canaries.values())])
    bases = np.array([0.0] * (_NUM_QUIET + 2) + [base for _, base in canaries.values()])
    return list(canaries), slopes, bases


def _batches() -> list[list[int]]:
    """Return the batches without the canary: empty, one row, all quiet rows, the odd rows too, and many rows."""
    quiet = list(range(_NUM_QUIET))
    return [[], [1], quiet, [*quiet, _NUM_QUIET, _NUM_QUIET + 1], quiet * 50]


def _sums(case: AuditCase, evaluator: LinearLosses, batches: list[list[int]], folder: Path) -> np.ndarray:
    """Return the sum of each batch, int64 [T, K] in units, as the real step releases it without noise."""
    most = max(itertools.chain.from_iterable(batches), default=0)
    workspace = stub_workspace(range(most + 1), evaluator)
    return case.releases(workspace, folder, sampler=GivenBatches(batches), noise=NoNoise())


def _swaps(
    case: AuditCase, present: np.ndarray, canaries: list[str], batches: list[list[int]]
) -> Iterator[tuple[float, int, str]]:
    """Yield the shift, its bound in C and its name for every two canaries in the same batch."""
    for b, batch in enumerate(batches):
        for c, d in itertools.combinations(range(len(canaries)), 2):
            difference_K = present[b * len(canaries) + c] - present[b * len(canaries) + d]
            yield length(case, difference_K), 2, _where(batch, f"{canaries[c]} for {canaries[d]}")


def _shard_findings(case: AuditCase, evaluator: LinearLosses, batches: list[list[int]], canary: int) -> Iterator[str]:
    """Yield a finding where the sums of the ranks' shards do not add up to the sum of the batch."""
    method, plan = case.estimator(), case.plan
    for step, batch in enumerate(batches):
        rows = [row_example(row) for row in [*batch, canary, canary + 5]]
        values_BK = method.values(step, evaluator.probe(rows, method.propose(step)))
        whole_K = real_step.clipped_sum(values_BK, plan)
        for ranks in _RANKS:
            shards_K = sum(real_step.clipped_sum(values_BK[rank::ranks], plan) for rank in range(ranks))
            if not np.array_equal(whole_K, shards_K):
                yield f"{ranks} ranks give another sum of {len(rows)} examples than one: clipping is not per example"


def _where(batch: list[int], canary: str) -> str:
    return f"a canary ({canary}) among {len(batch)} others"
