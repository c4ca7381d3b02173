"""What is known of one trial of a sweep; the live table, the status and the result file show it.

It holds only releasable values: settings, scores (public, or noisy and paid for) and step counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

TrialState = Literal["running", "interrupted", "complete", "stopped early", "failed"]
STATE_OF_STUDY: dict[str, TrialState] = {
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "stopped early",
    "FAIL": "failed",
}


SCORES = "scores"  # attribute of a trial with two objectives: its scores by step
EARLIER = "earlier"
"""Attribute of a study's trial that is one of an earlier sweep, and no trial of this one."""


@dataclass
class TrialRow:
    """One trial: its settings, its steps and its scores so far.

    `steps_charged` counts every token in its log. It exceeds `steps` where a kill interrupted a step, or where the
    scheduler stopped a resumed trial before the step that it had reached. `epsilon` is of those tokens alone. A
    complete trial with fewer than `num_steps` steps ended early because no tokens were left. `why` a trial failed is
    known to the process that saw it. `forward_passes` are those of the batch, in all its runs.
    """

    number: int
    values: dict[str, Any]
    state: TrialState = "running"
    steps: int = 0
    steps_charged: int = 0
    scores: list[float] = field(default_factory=list)
    epsilon: float | None = None
    num_steps: int | None = None
    why: str | None = None
    forward_passes: int | None = None

    @property
    def score(self) -> float | None:
        """The last score, or None before the first."""
        return self.scores[-1] if self.scores else None

    def as_winner(self, epsilon: float) -> TrialRow:
        """Return the row that may be released of the best of a secret number of trials.

        Its number and the tokens that kills cost it say something of the other trials, so both are left out.
        """
        return replace(self, number=0, steps_charged=self.steps, epsilon=epsilon)


def row_of_study(trial: Any) -> TrialRow:
    """Return the row of an Optuna trial as `TruthfulSearch` stores it."""
    return TrialRow(
        number=trial.number,
        values=trial.params,
        state=STATE_OF_STUDY[trial.state.name],
        steps=trial.user_attrs.get("steps", 0),
        steps_charged=trial.user_attrs.get("steps_charged", 0),
        epsilon=trial.user_attrs.get("epsilon"),
        num_steps=trial.user_attrs.get("num_steps"),
        scores=[score for _, score in sorted(scores_by_step(trial).items())],
        forward_passes=trial.user_attrs.get("forward_passes"),
    )


def scores_by_step(trial: Any) -> dict[int, float]:
    """Return the scores of an Optuna trial; a study of two objectives takes none on the way, so they are attributes."""
    attributes = {int(step): score for step, score in trial.user_attrs.get(SCORES, {}).items()}
    return attributes or dict(trial.intermediate_values)


def front_of(rows: Sequence[TrialRow], cost: str) -> list[int]:
    """Return the numbers of the complete trials that none beats: is no worse in score and `cost`, and better in one."""
    ended = [
        (row.scores[-1], -getattr(row, cost), row.number) for row in rows if row.state == "complete" and row.scores
    ]

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one[:2] != other[:2] and all(mine >= theirs for mine, theirs in zip(one[:2], other[:2], strict=True))

    return [one[-1] for one in ended if not any(beats(other, one) for other in ended)]


def best_of(rows: Sequence[TrialRow]) -> TrialRow | None:
    """Return the complete trial with the highest last score (of equals the first), or None."""
    complete = [row for row in rows if row.state == "complete" and row.score is not None]
    return max(complete, key=lambda row: row.score or 0.0, default=None)


def steps_to_come(rows: Sequence[TrialRow], num_trials: int, num_steps: int) -> int:
    """Return the expected steps of the whole sweep: stopped and failed trials count the steps that they took."""
    ended = [row.steps_charged for row in rows if row.state in ("stopped early", "failed")]
    return sum(ended) + (num_trials - len(ended)) * num_steps
