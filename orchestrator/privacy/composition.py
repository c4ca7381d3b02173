"""What a whole sweep costs when everything it does may be published (`release: all`).

Before the sweep, the kinds of release are fixed and a cap is set on each: so many training steps of one (σ, q), so many
noisy evaluations of one σ. Every release draws a token, and an empty cap refuses (ledger.py). The reported ε is that of
the caps, spent or not: however the tokens are spread over trials, adaptively, concurrently, with early stops and
restarts, the transcript is post-processing of the composition of the caps. It is never the ε of what was really drawn,
because the number drawn depends on private results.
"""

from __future__ import annotations

from typing import Annotated, Self

import dp_accounting as dp
from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.privacy import accountant
from orchestrator.privacy.accountant import Adjacency, Certificate
from orchestrator.privacy.ledger import Cap

TRAIN_STEP = "train_step"
EVALUATION = "evaluation"
CAP_NOTE = "The reported ε is that of the declared caps, every token counted as drawn, never of what was really drawn."

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepCap(_Frozen):
    """At most `num_steps` noisy sums over Poisson samples: all trials, retries and spare steps of a sweep together."""

    sampling_prob: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: _Positive
    num_steps: Annotated[int, Field(ge=1)]


class EvaluationCap(_Frozen):
    """At most `count` noisy counts over the private rows: sensitivity 1, every row looked at, Gaussian noise."""

    noise_multiplier: _Positive
    count: Annotated[int, Field(ge=1)]


class SweepCaps(_Frozen):
    """Everything that a sweep may release about its data set, fixed before it starts."""

    train_step: StepCap
    evaluation: EvaluationCap | None = None

    def event(self) -> dp.DpEvent:
        """Return the composition of all tokens of all caps."""
        step = dp.PoissonSampledDpEvent(
            self.train_step.sampling_prob, dp.GaussianDpEvent(self.train_step.noise_multiplier)
        )
        parts: list[dp.DpEvent] = [dp.SelfComposedDpEvent(step, self.train_step.num_steps)]
        if self.evaluation is not None:
            count = dp.GaussianDpEvent(self.evaluation.noise_multiplier)
            parts.append(dp.SelfComposedDpEvent(count, self.evaluation.count))
        return dp.ComposedDpEvent(parts)

    def tokens(self) -> dict[str, Cap]:
        """Return what to reserve in the ledger before the sweep: one cap for each kind of release."""
        step = self.train_step
        law = {"noise": "gaussian", "noise_multiplier": step.noise_multiplier, "sampling_prob": step.sampling_prob}
        tokens = {TRAIN_STEP: Cap(law, step.num_steps)}
        if self.evaluation is not None:
            law = {"noise": "gaussian", "noise_multiplier": self.evaluation.noise_multiplier, "sampling_prob": 1.0}
            tokens[EVALUATION] = Cap(law, self.evaluation.count)
        return tokens

    def certificate(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> Certificate:
        """Return the ε of the caps and what vouches for it; see `accountant.certificate`."""
        return accountant.certificate(self.event(), delta, adjacency)

    def epsilon(self, delta: float, adjacency: Adjacency = "add-or-remove-one") -> float:
        """Return the ε of the caps at `delta`: the number to report.

        Formal guarantees:
            All outputs of a sweep whose releases are drawn from these caps are together (ε, delta)-DP, whatever the
            search algorithm makes of them.
        """
        return self.certificate(delta, adjacency).epsilon


class PlannedSweep(_Frozen):
    """A sweep as people plan it: trials of so many steps each, and spare tokens for retries and restarts."""

    num_trials: Annotated[int, Field(ge=1)]
    steps_per_trial: Annotated[int, Field(ge=1)]
    sampling_prob: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: _Positive
    spare_steps: Annotated[int, Field(ge=0)] = 0
    evaluations_per_trial: Annotated[int, Field(ge=0)] = 0
    evaluation_noise_multiplier: _Positive | None = None
    spare_evaluations: Annotated[int, Field(ge=0)] = 0

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

    def changed(self, **fields: float) -> PlannedSweep:
        """Return this plan with some fields replaced, checked anew."""
        return PlannedSweep.model_validate(self.model_dump() | fields)

    def _caps(self, num_steps: int, num_evaluations: int) -> SweepCaps:
        steps = StepCap(sampling_prob=self.sampling_prob, noise_multiplier=self.noise_multiplier, num_steps=num_steps)
        if num_evaluations == 0:
            return SweepCaps(train_step=steps)
        assert self.evaluation_noise_multiplier is not None
        evaluations = EvaluationCap(noise_multiplier=self.evaluation_noise_multiplier, count=num_evaluations)
        return SweepCaps(train_step=steps, evaluation=evaluations)
