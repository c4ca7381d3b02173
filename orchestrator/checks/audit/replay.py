"""Part 1: replay with frozen releases, on D and on D and one example more. How far can one example move a sum?

Both worlds take the same steps with the same directions and batches, but for the canary, by the real step and without
noise, so that what they release are the exact sums. The difference is checked in integers. Canaries are what a model
in trouble may produce: NaN, infinities, overflow, a loss a million times the clip.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from orchestrator.checks.audit.cases import AuditCase
from orchestrator.checks.audit.result import ReplayResult
from orchestrator.checks.audit.stub import HUGE, GivenBatches, LinearLosses, NoNoise, quiet_slopes, row_example
from trainers.mechanism.plan import UNITS_PER_CLIP
from trainers.mechanism.tokens import LocalTokens
from trainers.methods.catalogue import METHODS
from trainers.run import step as real_step
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun

_NUM_QUIET = 6
_NUM_DIRECTIONS = 8
_MOST_FINDINGS = 3
_RANKS = (2, 3)


def audit_replay(case: AuditCase, folder: Path) -> ReplayResult:
    """Play all canaries in all batches, and compare the sums with and without, or with another canary."""
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
        f"{where} moved the sum by {shift:.12g} C, not {bound} C at most"
        for shift, bound, where in shifts
        if shift > bound
    ]
    findings = findings[:_MOST_FINDINGS] + list(_shard_findings(case, evaluator, batches, first))[:1]
    return ReplayResult(
        comparisons=len(shifts), largest_shift=max(shift / bound for shift, bound, _ in shifts), findings=findings
    )


def length(case: AuditCase, difference_K: np.ndarray) -> float:
    """Return the norm of a difference of sums in multiples of C; above 1 exactly where the integers say so."""
    units = [int(value) for value in difference_K]
    if case.noise == "laplace":
        return sum(map(abs, units)) / UNITS_PER_CLIP
    squared = sum(unit * unit for unit in units)
    exact = math.sqrt(squared) / UNITS_PER_CLIP
    return exact if squared <= UNITS_PER_CLIP**2 else max(exact, math.nextafter(1.0, 2.0))


def _rows(num_directions: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the canaries' names, and slopes and bases of all rows: quiet ones, two odd ones, the canaries."""
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
        "above the clip by a rounding": (ones * np.nextafter(num_directions**-0.5, 1.0), 0.0),
        "of clip size in each direction": (ones * (1.0 - 2.0**-20), 0.0),
        "vanishing": (5e-324 * ones, 0.0),
        "zero": (0.0 * ones, 0.0),
    }
    odd = [ones * np.nan, HUGE * signs]
    slopes = np.stack([*quiet_slopes(_NUM_QUIET, num_directions), *odd, *(slope for slope, _ in canaries.values())])
    bases = np.array([0.0] * (_NUM_QUIET + 2) + [base for _, base in canaries.values()])
    return list(canaries), slopes, bases


def _batches() -> list[list[int]]:
    """Return batches of others: none (the canary is alone), one, all quiet ones, odd ones too, and a large one."""
    quiet = list(range(_NUM_QUIET))
    return [[], [1], quiet, [*quiet, _NUM_QUIET, _NUM_QUIET + 1], quiet * 50]


def _sums(case: AuditCase, evaluator: LinearLosses, batches: list[list[int]], folder: Path) -> list[np.ndarray]:
    """Return the exact sum of each batch, int64 [K] in units, as the real step releases it when there is no noise."""
    most = max(itertools.chain.from_iterable(batches), default=0)
    workspace = Workspace([row_example(row) for row in range(most + 1)], [], evaluator)
    tokens = LocalTokens(len(batches))
    context = RunContext(workspace, case.config, case.plan, Tokens(tokens, tokens), folder)
    run = ZerothOrderRun(context, sampler=GivenBatches(batches), noise=NoNoise())
    with run.log:
        list(run.segments())
    return run.log.releases["step"]


def _swaps(
    case: AuditCase, present: list[np.ndarray], canaries: list[str], batches: list[list[int]]
) -> Iterator[tuple[float, int, str]]:
    """Yield the shifts between two canaries in the same batch, which 2C bounds."""
    for b, batch in enumerate(batches):
        for c, d in itertools.combinations(range(len(canaries)), 2):
            difference_K = present[b * len(canaries) + c] - present[b * len(canaries) + d]
            yield length(case, difference_K), 2, _where(batch, f"{canaries[c]} for {canaries[d]}")


def _shard_findings(case: AuditCase, evaluator: LinearLosses, batches: list[list[int]], canary: int) -> Iterator[str]:
    """Yield an objection where the sum over ranks, each with its shard of a batch, is not the sum of the batch."""
    method, plan = case.estimator(), case.plan
    for step, batch in enumerate(batches):
        rows = [row_example(row) for row in [*batch, canary, canary + 5]]
        values_BK = method.values(step, evaluator.probe(rows, method.propose(step)))
        whole_K = real_step.clipped_sum(values_BK, plan)
        for ranks in _RANKS:
            shards_K = sum(real_step.clipped_sum(values_BK[rank::ranks], plan) for rank in range(ranks))
            if not np.array_equal(whole_K, shards_K):
                yield f"{ranks} ranks sum {len(rows)} examples to something else than one: clipping is not per example"


def _where(batch: list[int], canary: str) -> str:
    return f"a canary ({canary}) among {len(batch)} others"
