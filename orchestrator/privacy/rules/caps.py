"""Caps (`release: all`): a fixed number of steps of one (σ, q), and of scores of one σ, shared by all trials.

Before the sweep, a cap is set on each kind of release. Every release draws a token from the ledger, and an empty cap
refuses. The reported ε is that of the caps, spent or not: however the tokens are spread over trials, adaptively,
concurrently, with early stops and restarts, the transcript is post-processing of the composition of the caps. It is
never the ε of what was really drawn, because the number drawn depends on private results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import dp_accounting as dp

from orchestrator.privacy.accountant import accountant
from orchestrator.privacy.accountant.accountant import Certificate
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.accountant.bounds import pure_epsilon, quick_epsilon, renyi
from orchestrator.privacy.accountant.events import Releases, read
from orchestrator.privacy.ledger.terms import Cap
from orchestrator.privacy.rules.base import CostRule, require_order
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap

TRAIN_STEP = "train_step"
EVALUATION = "evaluation"
CAP_NOTE = "The reported ε is that of the declared caps, every token counted as drawn, never of what was really drawn."


class SweepCaps(CostRule):
    """Everything that a sweep may release about its data set, over one set of records or over two disjoint ones.

    Args:
        disjoint: whether a keyed coin for each record, flipped without looking at the others, puts it either into
            training or into validation, so that steps never touch what scores touch.
        units: what a record is, where it is not a row of the file: the column that names users, or a selection of rows.

    Formal guarantees:
        The ε is that of the composition of all tokens, however they are spread over trials, adaptively, concurrently,
        with early stops, in any order (docs/proofs/caps.md). On disjoint records it is the larger of the two sides'
        (docs/proofs/disjoint.md); under replace-one, which may change both sides, they are refused. Tokens that
        are left over may be taken over (docs/proofs/reuse.md).
    """

    rule: Literal["caps"] = "caps"
    train_step: StepCap
    evaluation: EvaluationCap | None = None
    disjoint: bool = False
    units: str | None = None

    @property
    def title(self) -> str:
        return "disjoint" if self.disjoint else "caps"

    @property
    def trial_kinds(self) -> tuple[SweepCaps, ...]:
        return (self,)

    @property
    def reuses_tokens(self) -> bool:
        return not self.disjoint  # of disjoint records only the dearer side is charged

    def event(self) -> dp.DpEvent:
        """Return the composition of all tokens of all caps: with disjoint records, more than any record sees."""
        return dp.ComposedDpEvent(self._parts())

    def releases(self, adjacency: Adjacency) -> tuple[Releases, ...]:
        """Return what one record may see: the one composition of all tokens, or with disjoint records one of two.

        ValueError for disjoint records under replace-one.
        """
        if self.disjoint and adjacency != "add-or-remove-one":
            raise ValueError(
                "Disjoint records are proven for add-or-remove-one only: a record may be replaced by one of the other "
                "side. Take add-or-remove-one, or disjoint=False."
            )
        return tuple(read(side) for side in (self._parts() if self.disjoint else [self.event()]))

    def tokens(self) -> dict[str, Cap]:
        # a law says on which records it is: a token that is left over serves no records of both sides, or other users
        split = ({"records": "disjoint"} if self.disjoint else {}) | ({"record": self.units} if self.units else {})
        tokens = {TRAIN_STEP: Cap(self.train_step.law() | split, self.train_step.num_steps)}
        if self.evaluation is not None:
            tokens[EVALUATION] = Cap(self.evaluation.law() | split, self.evaluation.count)
        return tokens

    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        return accountant.largest(accountant.certify(side, delta, adjacency) for side in self.releases(adjacency))

    def bound(self, delta: float) -> float:
        sides = self.releases("add-or-remove-one")
        return max(pure_epsilon(side) if delta == 0 else quick_epsilon(side, delta) for side in sides)

    def renyi(self, order: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        require_order(order)
        if adjacency != "add-or-remove-one":
            return math.inf
        return max(float(renyi(side, [order])[0]) for side in self.releases(adjacency))

    def without(self, reused: Mapping[str, int]) -> SweepCaps | None:
        return self._less(reused) if self.reuses_tokens else super().without(reused)

    def _less(self, tokens: Mapping[str, int]) -> SweepCaps | None:
        steps = self.train_step.num_steps - tokens.get(TRAIN_STEP, 0)
        scores = (self.evaluation.count if self.evaluation else 0) - tokens.get(EVALUATION, 0)
        if steps == scores == 0:
            return None
        evaluation = self.evaluation.model_copy(update={"count": scores}) if self.evaluation and scores else None
        step = self.train_step.model_copy(update={"num_steps": max(steps, 1)})  # 1 too many where only scores are left
        return self.model_copy(update={"train_step": step, "evaluation": evaluation})

    def on_scored_rows(self) -> SweepCaps | None:
        # steps show nothing of rows that only scores look at
        return self._less({TRAIN_STEP: self.train_step.num_steps})

    def epsilon_of_drawn(self, drawn: Mapping[str, int], delta: float, adjacency: Adjacency) -> float:
        caps = self._less({kind: cap.count - drawn.get(kind, 0) for kind, cap in self.tokens().items()})
        return 0.0 if caps is None else caps.epsilon(delta, adjacency)

    def describe(self) -> str:
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
