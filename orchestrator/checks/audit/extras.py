"""What a run promises besides the law of its steps: scores, users as the unit of privacy, and the ledger's caps.

Scores and users are played without noise, with and without one canary, as in `replay`; the scores' noise is compared
with its law. A run on a real ledger must release exactly its steps, and no more than the ledger has tokens for.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.budget.accounted_run import LedgerTokens
from orchestrator.checks.audit.cases import AuditCase
from orchestrator.checks.audit.replay import length
from orchestrator.checks.audit.residual_tests import check_law, law_findings
from orchestrator.checks.audit.result import ExtraResult
from orchestrator.checks.audit.stub import (
    HUGE,
    GivenBatches,
    LinearLosses,
    NoNoise,
    quiet_slopes,
    row_example,
    stub_workspace,
)
from orchestrator.privacy.ledger.budget import BudgetTerms, Cost
from orchestrator.privacy.ledger.drawer import TokenDrawer
from orchestrator.privacy.ledger.engines import sqlite_url
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.caps import TRAIN_STEP
from trainers.evaluators.base import Example
from trainers.mechanism.plan import GRID_UNITS_PER_CLIP
from trainers.mechanism.release_log import ReleaseLog
from trainers.mechanism.tokens import LocalTokens
from trainers.run.scoring import PrivateScore

_METRICS: dict[str, dict[str, Any]] = {"loss": {"loss_bound": 2.0}, "accuracy": {}, "f1": {}}
_LABELS = [f"label {number}" for number in range(40)]  # a confusion matrix of 1,600 noisy cells
_LOSSES = [0.5, 1.5, np.nan, np.inf, -np.inf, HUGE, -HUGE]
_QUIET_ROWS = [0, 1]  # the first losses; the others are canaries'

_EACH = 4  # examples of a user
_QUIET_USERS = [0, 1, 2]  # the next ones are the canaries
_CANARIES = {
    "huge": [HUGE] * _EACH,
    "huge with both signs": [HUGE, -HUGE, HUGE, HUGE],
    "NaN, infinite and huge": [np.nan, np.inf, HUGE, -np.inf],
    "at the clip": [1.0] * _EACH,
}
_STEPS, _TOKENS = 8, (5, 11)


class _Answers:
    """The part of a `LossEvaluator` that a score uses: row i has the loss `_LOSSES[i]` and the answer i."""

    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        return np.array([_LOSSES[example.prompt_ids[0]] for example in batch])

    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        return np.array([example.prompt_ids[0] for example in batch])


def audit_scores(case: AuditCase, folder: Path) -> ExtraResult:
    """Compare the sums of each metric with and without each canary, and the noise of one score with its law."""
    differences, noise_K = {}, np.zeros(0)
    for metric, bound in _METRICS.items():
        score = {"on": "private", "metric": metric, "num_examples": 10, "noise_multiplier": case.noise_multiplier}
        scored = case.with_settings(data={"validation": "stub"}, task={"labels": _LABELS}, score={**score, **bound})
        quiet_K = _score(scored, _QUIET_ROWS, folder / metric, noise=NoNoise())
        noise_K = _score(scored, _QUIET_ROWS, folder / f"{metric}-noisy") - quiet_K
        for row in range(len(_QUIET_ROWS), len(_LOSSES)):
            with_K = _score(scored, [*_QUIET_ROWS, row], folder / f"{metric}-{row}", noise=NoNoise())
            differences[f"{metric}: a canary with the loss {_LOSSES[row]}"] = with_K - quiet_K
    law = check_law(noise_K, case.noise, case.law.noise_multiplier * GRID_UNITS_PER_CLIP)
    detail, findings = _moved(case, differences)
    return ExtraResult(
        title=f"private scores, {case.noise}",
        detail=f"{detail}, noise × {law.scale_ratio:.3f}",
        findings=findings + law_findings(law),
    )


def audit_users(case: AuditCase, folder: Path) -> ExtraResult:
    """Compare the sum of quiet users with the sum of their means, and with the sums with each canary."""
    case = case.with_settings(
        data={"user_column": "user", "max_examples_per_user": _EACH, "num_users": case.config.data.num_examples},
        method={"num_steps": 1 + len(_CANARIES)},
    )
    quiet_NK = quiet_slopes(_EACH * len(_QUIET_USERS), case.plan.num_directions)
    slopes_NK = np.vstack([quiet_NK, np.outer(np.ravel(list(_CANARIES.values())), case.canary()[0] / HUGE)])
    users = [f"user {row // _EACH}" for row in range(len(slopes_NK))]
    workspace = stub_workspace(range(len(users)), LinearLosses(slopes_NK), users)
    canaries = range(len(_QUIET_USERS), len(_QUIET_USERS) + len(_CANARIES))
    batches = GivenBatches([_QUIET_USERS, *([*_QUIET_USERS, canary] for canary in canaries)])
    without_K, *with_TK = case.releases(workspace, folder, sampler=batches, noise=NoNoise())
    differences = {f"a user ({name})": with_K - without_K for name, with_K in zip(_CANARIES, with_TK, strict=True)}
    detail, findings = _moved(case, differences)
    means_K = np.trunc(quiet_NK.sum(axis=0) / _EACH * case.plan.vector_units).astype(np.int64)
    if np.abs(without_K[: len(means_K)] - means_K).max() >= len(_QUIET_USERS):  # each mean is truncated
        findings.append("a user does not count as the mean of its examples")
    return ExtraResult(title=f"users, {case.noise}", detail=detail, findings=findings)


def audit_caps(case: AuditCase, folder: Path) -> ExtraResult:
    """Take a run of 8 steps on a real ledger twice, with 5 tokens and with 11, and count releases and tokens."""
    case, url = case.with_method(num_steps=_STEPS), sqlite_url(folder / "ledger.db")
    findings, seen = [], []
    with Ledger(url) as ledger:
        num_units = case.config.data.num_examples
        ledger.create_budget(BudgetTerms(name="audit", epsilon=None, delta=case.delta, num_units=num_units))
        for tokens in _TOKENS:
            name, cap = f"{tokens} tokens", Cap(case.rule.train_step.law(), tokens)
            ledger.reserve(name, {TRAIN_STEP: cap}, budget="audit", cost=Cost(0.0, 0.0))
            workspace = stub_workspace(range(2), LinearLosses(quiet_slopes(2, case.plan.num_directions)))
            drawer = LedgerTokens(TokenDrawer(url, name, TRAIN_STEP, "audit"))
            logging.disable(logging.WARNING)  # a run without tokens says that it ends early, as it should here
            try:
                released = len(case.releases(workspace, folder / name, drawer))
            finally:
                logging.disable(logging.NOTSET)
            counts = released, ledger.drawn(name, TRAIN_STEP)
            seen.append(f"{_STEPS} steps with {name}: {counts[0]} releases, {counts[1]} tokens drawn")
            findings += [seen[-1]] if set(counts) != {min(_STEPS, tokens)} else []
    return ExtraResult(title="caps of the ledger", detail="; ".join(seen), findings=findings)


def _score(case: AuditCase, rows: Sequence[int], folder: Path, **stubs: Any) -> np.ndarray:
    """Return the released score of the given rows, int64 [K] in units; `stubs` replace the score's own noise."""
    evaluator: Any = _Answers()
    with ReleaseLog(folder, {}) as log:
        PrivateScore(case.config, [(row_example(row),) for row in rows], LocalTokens(1), log, **stubs)(evaluator, 0)
        return log.releases["score"][0]


def _moved(case: AuditCase, differences: Mapping[str, np.ndarray]) -> tuple[str, list[str]]:
    """Return how far canaries moved sums, by their names, and one line for each that moved one by more than C."""
    shifts = {name: length(case, difference_K) for name, difference_K in differences.items()}
    findings = [f"{name} moved the sum by {shift:.12g} of its bound" for name, shift in shifts.items() if shift > 1.0]
    return f"shift {max(shifts.values()):.3f}", findings
