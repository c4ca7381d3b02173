"""The third check of an audit: how well one can tell from a run's releases whether the canary was in the data.

The runs are real, from the sampler to the log on disk. Half of them have the canary among their rows. The auditor knows
all settings, all other rows and the batches that they were in. He does not know the noise, nor which batches the canary
was in, and makes the best possible guess for each run. The rates of wrong guesses are compared with the claim.
"""

from pathlib import Path

import numpy as np

from orchestrator.checks.audit.cases import AuditCase
from orchestrator.checks.audit.residuals import exact_sums, quiet_rows
from orchestrator.checks.audit.result import MembershipResult, Point
from orchestrator.checks.audit.stub import LinearLosses, quiet_slopes, stub_workspace
from orchestrator.checks.audit.trade_off import TAIL, Rates, judge, power
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP
from trainers.mechanism.release_log import LOG_NAME
from trainers.run.context import Workspace

FAULTS = {
    "noise × 0.8": {"noise_factor": 0.8},
    "q × 2": {"sampling_factor": 2.0},
    "sensitivity × 2": {"sensitivity_factor": 2.0},
}
_POWER_TRIES = 20  # simulated audits with each fault
_NUM_OTHERS = 2
_CURVE_POINTS = 41  # thresholds that the result keeps


def play_runs(case: AuditCase, runs: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of `runs` runs without the canary and of as many with it, float64 [runs] each."""
    canary_K, clipped_K = case.canary()
    slopes_NK = np.vstack([quiet_slopes(_NUM_OTHERS, len(canary_K)), canary_K, -canary_K])
    others, canary, opposite = list(range(_NUM_OTHERS)), _NUM_OTHERS, _NUM_OTHERS + 1
    absent = [*others, opposite] if case.adjacency == "replace-one" else others
    others_NK = quiet_rows(slopes_NK[:_NUM_OTHERS], case.plan)
    known_NK = np.pad(others_NK, ((0, 2), (0, 0)))
    worlds = []
    for rows in (absent, [*others, canary]):
        evaluator = LinearLosses(slopes_NK)
        workspace = stub_workspace(rows, evaluator)
        sums_RTK = np.stack([_one_run(case, workspace, evaluator, known_NK, folder) for _ in range(runs)])
        worlds.append(case.law.score(sums_RTK, clipped_K))
    return worlds[0], worlds[1]


def audit_membership(case: AuditCase, without: np.ndarray, present: np.ndarray, tail: float = TAIL) -> MembershipResult:
    """Compare the scores of runs without and with the canary, float64 [R] each, with the claim."""
    verdict = judge(without, present, case.claim, case.delta, tail)
    runs, steps = len(without), case.plan.num_steps
    powers = {
        name: power(case.law, steps, case.claim, runs, tail=tail, tries=_POWER_TRIES, **fault)
        for name, fault in FAULTS.items()
    }
    findings = []
    if verdict.violation:
        findings.append(
            f"the canary is recognised too well: at most {verdict.at.fnr_upper[0]:.3f} of the runs with it are missed, "
            f"and at most {verdict.at.fpr_upper[0]:.3f} of the runs without it are false alarms; under the claim at "
            f"least {verdict.at.fnr_upper[0] + verdict.margin:.3f} are missed"
        )
    grid = np.linspace(0.0, 1.0, 201)
    return MembershipResult(
        runs=runs,
        tail=tail,
        epsilon_lower=verdict.epsilon_lower,
        margin=verdict.margin,
        power=powers["noise × 0.8"],
        powers=powers,
        decided_at=_points(verdict.at)[0],
        measured=_points(verdict.curve)[:: max(1, len(verdict.curve.fpr) // _CURVE_POINTS)],
        claimed=[(float(fpr), float(fnr)) for fpr, fnr in zip(grid, case.claim(grid), strict=True)],
        findings=findings,
    )


def _one_run(
    case: AuditCase, workspace: Workspace, evaluator: LinearLosses, known_NK: np.ndarray, folder: Path
) -> np.ndarray:
    """Take a run to its end; return releases minus sums of the known rows, `known_NK` in units, [T, K] in clips C."""
    released_TK = case.releases(workspace, folder)
    (folder / LOG_NAME).unlink()
    return (released_TK - exact_sums(evaluator.batches, known_NK, len(released_TK))) / GRID_UNITS_PER_CLIP


def _points(rates: Rates) -> list[Point]:
    columns = np.column_stack([getattr(rates, name) for name in Point.model_fields])
    return [Point(**dict(zip(Point.model_fields, column, strict=True))) for column in columns.tolist()]
