"""The two kinds of release of a search, a training step and a score, each with its law, its event and a cap."""

from __future__ import annotations

from typing import Annotated, Literal

import dp_accounting as dp
from pydantic import Field

from orchestrator.privacy.cost_rule import Frozen
from orchestrator.privacy.events import pure_step

StepNoise = Literal["gaussian", "laplace"]
Metric = Literal["count", "confusion_matrix", "clipped_mean_loss"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StepCap(Frozen):
    """At most `num_steps` noisy sums over Poisson samples: all trials, retries and spare steps of a sweep together.

    Args:
        sampling_prob: of each example, in (0, 1].
        noise_multiplier: noise in multiples of the clipping norm: standard deviation for Gaussian noise and an L2 clip,
            scale (1/√2 of the standard deviation) for Laplace noise and an L1 clip.
        num_steps: the cap.
        noise: kind of noise.
        num_coordinates: length of the clipped vector; matters for Laplace noise only.
    """

    sampling_prob: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Positive
    num_steps: Annotated[int, Field(ge=1)]
    noise: StepNoise = "gaussian"
    num_coordinates: Annotated[int, Field(ge=1)] = 1

    def event(self) -> dp.DpEvent:
        """Return one step's event.

        Formal guarantees:
            Gaussian noise is rotation invariant, so one number and K numbers cost the same. Laplace noise on one number
            has its own distribution; on K numbers it is (1/σ)-DP and nothing more is used.
        """
        if self.noise == "gaussian":
            release: dp.DpEvent = dp.GaussianDpEvent(self.noise_multiplier)
        elif self.num_coordinates == 1:
            release = dp.LaplaceDpEvent(self.noise_multiplier)
        else:
            release = pure_step(self.noise_multiplier)
        return dp.PoissonSampledDpEvent(self.sampling_prob, release)

    def law(self) -> dict[str, str | float | int]:
        """Return what one token stands for, as JSON values."""
        law: dict[str, str | float | int] = {
            "noise": self.noise,
            "noise_multiplier": self.noise_multiplier,
            "sampling_prob": self.sampling_prob,
        }
        return law if self.noise == "gaussian" else law | {"num_coordinates": self.num_coordinates}


class EvaluationCap(Frozen):
    """At most `count` noisy scores over the private rows: L2 sensitivity 1, every row looked at, Gaussian noise.

    The metrics are a count of hits, a confusion matrix (one record is in one cell, each cell gets noise) and a sum of
    losses clipped to [0, B], in units of B. The noise multiplier is the standard deviation in those units.
    """

    noise_multiplier: Positive
    count: Annotated[int, Field(ge=1)]
    metric: Metric = "count"

    def event(self) -> dp.DpEvent:
        """Return one score's event."""
        return dp.GaussianDpEvent(self.noise_multiplier)

    def law(self) -> dict[str, str | float | int]:
        """Return what one token stands for, as JSON values."""
        return {
            "noise": "gaussian",
            "noise_multiplier": self.noise_multiplier,
            "sampling_prob": 1.0,
            "metric": self.metric,
        }
