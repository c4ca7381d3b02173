"""Part 3: end to end. Was the canary there? The best possible guess, made thousands of times, against the claim.

Every run is a real one, from its sampler to its log on disk: with the canary among the rows, or without. The auditor
knows everything but the canary's coin and the noise: all other rows, who of them was in which batch, all settings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.checks.audit.cases import AuditCase
from orchestrator.checks.audit.residuals import exact_sums
from orchestrator.checks.audit.result import MembershipResult, Point
from orchestrator.checks.audit.stub import LinearLosses, quiet_slopes, row_example
from orchestrator.checks.audit.trade_off import TAIL, Rates, judge, power
from trainers.mechanism.plan import UNITS_PER_CLIP
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun

POWER_AT = 0.8  # of the claimed noise
_POWER_TRIES = 40
_NUM_OTHERS = 2
_CURVE_POINTS = 41

Scores = tuple[np.ndarray, np.ndarray]


def play_runs(case: AuditCase, runs: int, folder: Path) -> Scores:
    """Return the scores of so many runs without the canary, and of as many with it, float64 [runs] each."""
    loud_K, claimed_K = case.canary()
    slopes_NK = np.vstack([quiet_slopes(_NUM_OTHERS, len(loud_K)), loud_K, -loud_K])
    rows = [row_example(row) for row in range(_NUM_OTHERS + 2)]
    others, canary, opposite = rows[:_NUM_OTHERS], rows[_NUM_OTHERS], rows[_NUM_OTHERS + 1]
    absent = [*others, opposite] if case.adjacency == "replace-one" else others
    known_NK = np.vstack([slopes_NK[:_NUM_OTHERS], np.zeros((2, len(loud_K)))])
    worlds = []
    for examples in (absent, [*others, canary]):
        evaluator = LinearLosses(slopes_NK)
        workspace = Workspace(examples, [], evaluator)
        sums_RTK = np.stack([_one_run(case, workspace, evaluator, known_NK, folder) for _ in range(runs)])
        worlds.append(case.law.score(sums_RTK, claimed_K))
    return worlds[0], worlds[1]


def audit_membership(case: AuditCase, without: np.ndarray, present: np.ndarray, tail: float = TAIL) -> MembershipResult:
    """Judge the scores of runs without and with the canary, float64 [R] each."""
    verdict = judge(without, present, case.claim, case.delta, tail)
    runs, steps = len(without), case.plan.num_steps
    findings = []
    if verdict.violation:
        findings.append(
            f"the canary is told too well: of those present at most {verdict.at.fnr_upper[0]:.3f} are missed, with at "
            f"most {verdict.at.fpr_upper[0]:.3f} false alarms; under the claim at least "
            f"{verdict.at.fnr_upper[0] + verdict.margin:.3f} must be"
        )
    grid = np.linspace(0.0, 1.0, 201)
    return MembershipResult(
        runs=runs,
        tail=tail,
        epsilon_lower=verdict.epsilon_lower,
        margin=verdict.margin,
        power=power(case.law, steps, case.claim, runs, noise_factor=POWER_AT, tail=tail, tries=_POWER_TRIES),
        decided_at=_points(verdict.at)[0],
        measured=_points(verdict.curve)[:: max(1, len(verdict.curve.fpr) // _CURVE_POINTS)],
        claimed=[(float(fpr), float(fnr)) for fpr, fnr in zip(grid, case.claim(grid), strict=True)],
        findings=findings,
    )


def _one_run(
    case: AuditCase, workspace: Workspace, evaluator: LinearLosses, known_NK: np.ndarray, folder: Path
) -> np.ndarray:
    """Play a run and return its releases less what is known of them, float64 [T, K] in multiples of C."""
    tokens = LocalTokens(case.config.method.num_steps)
    run = ZerothOrderRun(RunContext(workspace, case.config, case.plan, Tokens(tokens, tokens), folder))
    with run.log:
        list(run.segments())
    run.log.path.unlink()
    released_TK = np.stack(run.log.releases["step"])
    return (released_TK - exact_sums(evaluator.batches, known_NK, len(released_TK))) / UNITS_PER_CLIP


def _points(rates: Rates) -> list[Point]:
    columns = zip(rates.fpr, rates.fnr, rates.fpr_lower, rates.fpr_upper, rates.fnr_lower, rates.fnr_upper, strict=True)
    return [
        Point(fpr=a, fnr=b, fpr_lower=c, fpr_upper=d, fnr_lower=e, fnr_upper=f)
        for a, b, c, d, e, f in (map(float, column) for column in columns)
    ]
