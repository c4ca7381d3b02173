"""A sweep as people plan it: trials of equal length, and spare tokens for all trials together."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.laws import EvaluationCap, Frozen, Positive, ScoreKind, StepCap, StepNoise


class PlannedSweep(Frozen):
    """Trials of so many steps and scores each, and spare tokens for retries and restarts."""

    num_trials: Annotated[int, Field(ge=1)]
    steps_per_trial: Annotated[int, Field(ge=1)]
    sampling_prob: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Positive
    spare_steps: Annotated[int, Field(ge=0)] = 0
    evaluations_per_trial: Annotated[int, Field(ge=0)] = 0
    evaluation_noise_multiplier: Positive | None = None
    spare_evaluations: Annotated[int, Field(ge=0)] = 0
    noise: StepNoise = "gaussian"
    rounding_share: Annotated[float, Field(ge=0, le=1)] = 0.0
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
        """Return what one trial uses without spare tokens: its ε is not that of the sweep."""
        return self._caps(self.steps_per_trial, self.evaluations_per_trial)

    def changed(self, **fields: object) -> PlannedSweep:
        return PlannedSweep.model_validate(self.model_dump() | fields)

    def _caps(self, num_steps: int, num_evaluations: int) -> SweepCaps:
        steps = StepCap(
            sampling_prob=self.sampling_prob,
            noise_multiplier=self.noise_multiplier,
            num_steps=num_steps,
            noise=self.noise,
            num_coordinates=self.num_coordinates,
            rounding_share=self.rounding_share,
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
