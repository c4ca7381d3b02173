"""What a whole sweep costs when everything it does may be published (`release: all`).

Before the sweep, the kinds of release are fixed and a cap is set on each: so many training steps of one (σ, q), so many
noisy evaluations of one σ. Every release draws a token, and an empty cap refuses (ledger.py). The reported ε is that of
the caps, spent or not: however the tokens are spread over trials, adaptively, concurrently, with early stops and
restarts, the transcript is post-processing of the composition of the caps. It is never the ε of what was really drawn,
because the number drawn depends on private results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import dp_accounting as dp
from pydantic import Field, model_validator

from orchestrator.privacy.accountant import accountant
from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.bounds import renyi
from orchestrator.privacy.accountant.events import Releases, read
from orchestrator.privacy.ledger.ledger import Cap
from orchestrator.privacy.rules.base import CostRule, Frozen, check_order
from orchestrator.privacy.rules.laws import EvaluationCap, Positive, ScoreKind, StepCap, StepNoise

TRAIN_STEP = "train_step"
EVALUATION = "evaluation"
CAP_NOTE = "The reported ε is that of the declared caps, every token counted as drawn, never of what was really drawn."


class SweepCaps(CostRule):
    """Rule 1: everything that a sweep may release about its data set, and rule 5 for disjoint records.

    Args:
        train_step: the cap on training steps.
        evaluation: the cap on scores that look at private rows.
        disjoint: whether a keyed coin for each record, flipped without looking at the others, puts it either into
            training or into validation, so that steps never touch what scores touch.
        units: what a record is, where it is not a row of the file: the column that names users, or a selection of rows.

    Formal guarantees:
        Each token is a release whose pair of laws (with a record, without it) is dominated by a fixed pair, whatever
        came before. Given two adjacent data sets, each release can be made from one draw of its fixed pair, so that all
        a sweep shows is made from the tokens' independent draws: however they are spread over trials, adaptively,
        concurrently, with early stops, in any order.
        Disjoint: a record that is added or removed is on one side, and the releases of the other side have the same law
        with and without it, given what came before; so they cost it nothing, however the two sides are interleaved.
        The ε is the larger of the two. Under replace-one, a record and its replacement may lie on different sides:
        refused.
    """

    rule: Literal["caps"] = "caps"
    train_step: StepCap
    evaluation: EvaluationCap | None = None
    disjoint: bool = False
    units: str | None = None

    def event(self) -> dp.DpEvent:
        """Return the composition of all tokens of all caps: with disjoint records, more than any record sees."""
        return dp.ComposedDpEvent(self._parts())

    def sides(self) -> tuple[dp.DpEvent, ...]:
        """Return what one record may see: the one composition of all tokens, or with disjoint records one of two."""
        return tuple(self._parts()) if self.disjoint else (self.event(),)

    def releases(self, adjacency: Adjacency) -> tuple[Releases, ...]:
        """Return the sides as releases.

        Raises:
            ValueError: for disjoint records under replace-one.
        """
        if self.disjoint and adjacency != "add-or-remove-one":
            raise ValueError(
                "Disjoint records are proven for add-or-remove-one only: a record may be replaced by one of the other "
                "side. Take add-or-remove-one, or disjoint=False."
            )
        return tuple(read(side) for side in self.sides())

    def tokens(self) -> dict[str, Cap]:
        """Return what to reserve in the ledger before the sweep: one cap for each kind of release.

        The law of a token says whether records are disjoint: left over, it is no token for records of both sides; and
        what a record is: left over, it is no token for users of another column.
        """
        split = ({"records": "disjoint"} if self.disjoint else {}) | ({"record": self.units} if self.units else {})
        tokens = {TRAIN_STEP: Cap(self.train_step.law() | split, self.train_step.num_steps)}
        if self.evaluation is not None:
            tokens[EVALUATION] = Cap(self.evaluation.law() | split, self.evaluation.count)
        return tokens

    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        """Return the ε of the caps and what vouches for it; see `accountant.certificate`."""
        return accountant.largest(accountant.certify(side, delta, adjacency) for side in self.releases(adjacency))

    def renyi(self, order: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        """Return the Rényi ε of the caps at one order; inf under replace-one, where none is proven."""
        check_order(order)
        if adjacency != "add-or-remove-one":
            return math.inf
        return max(float(renyi(side, [order])[0]) for side in self.releases(adjacency))

    def without(self, reused: Mapping[str, int]) -> SweepCaps | None:
        """Return these caps less tokens that were charged before; None if nothing is left to charge.

        Where scores are left and no steps, one step stays in: it is charged once too often.
        """
        steps = self.train_step.num_steps - reused.get(TRAIN_STEP, 0)
        scores = (self.evaluation.count if self.evaluation else 0) - reused.get(EVALUATION, 0)
        if steps == scores == 0:
            return None
        evaluation = self.evaluation.model_copy(update={"count": scores}) if self.evaluation and scores else None
        step = self.train_step.model_copy(update={"num_steps": max(steps, 1)})
        return self.model_copy(update={"train_step": step, "evaluation": evaluation})

    def describe(self) -> str:
        """Return one sentence for the statement."""
        scores = f" and {self.evaluation.count:,} noisy scores" if self.evaluation else ""
        split = ", on disjoint records (the larger of the two costs counts)" if self.disjoint else ""
        return (
            f"At most {self.train_step.num_steps:,} training steps{scores} over all trials together{split}; everything "
            "may be published, whatever the search does with it."
        )

    def _parts(self) -> list[dp.DpEvent]:
        parts: list[dp.DpEvent] = [dp.SelfComposedDpEvent(self.train_step.event(), self.train_step.num_steps)]
        if self.evaluation is not None:
            parts.append(dp.SelfComposedDpEvent(self.evaluation.event(), self.evaluation.count))
        return parts


class PlannedSweep(Frozen):
    """A sweep as people plan it: trials of so many steps each, and spare tokens for retries and restarts."""

    num_trials: Annotated[int, Field(ge=1)]
    steps_per_trial: Annotated[int, Field(ge=1)]
    sampling_prob: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Positive
    spare_steps: Annotated[int, Field(ge=0)] = 0
    evaluations_per_trial: Annotated[int, Field(ge=0)] = 0
    evaluation_noise_multiplier: Positive | None = None
    spare_evaluations: Annotated[int, Field(ge=0)] = 0
    noise: StepNoise = "gaussian"
    num_coordinates: Annotated[int, Field(ge=1)] = 1
    evaluation_metric: ScoreKind = "count"
    evaluation_coordinates: Annotated[int, Field(ge=1)] = 1
    disjoint: bool = False
    units: str | None = None

    @model_validator(mode="after")
    def _evaluations_are_noisy(self) -> Self:
        if (self.evaluations_per_trial or self.spare_evaluations) and self.evaluation_noise_multiplier is None:
            raise ValueError(
                "Private evaluations are planned: set evaluation_noise_multiplier, or evaluate on public rows."
            )
        return self

    def caps(self) -> SweepCaps:
        """Return the caps that hold all trials and the spare."""
        return self._caps(
            self.num_trials * self.steps_per_trial + self.spare_steps,
            self.num_trials * self.evaluations_per_trial + self.spare_evaluations,
        )

    def trial_caps(self) -> SweepCaps:
        """Return what one trial uses by itself: for a trial's own ε, which is no substitute for the sweep's."""
        return self._caps(self.steps_per_trial, self.evaluations_per_trial)

    def changed(self, **fields: object) -> PlannedSweep:
        """Return this plan with some fields replaced, checked anew."""
        return PlannedSweep.model_validate(self.model_dump() | fields)

    def _caps(self, num_steps: int, num_evaluations: int) -> SweepCaps:
        steps = StepCap(
            sampling_prob=self.sampling_prob,
            noise_multiplier=self.noise_multiplier,
            num_steps=num_steps,
            noise=self.noise,
            num_coordinates=self.num_coordinates,
        )
        if num_evaluations == 0:
            return SweepCaps(train_step=steps, units=self.units)
        assert self.evaluation_noise_multiplier is not None
        evaluations = EvaluationCap(
            noise_multiplier=self.evaluation_noise_multiplier,
            count=num_evaluations,
            metric=self.evaluation_metric,
            noise=self.noise,
            num_coordinates=self.evaluation_coordinates,
        )
        return SweepCaps(train_step=steps, evaluation=evaluations, disjoint=self.disjoint, units=self.units)
