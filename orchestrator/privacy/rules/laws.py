"""The two kinds of release of a search, a training step and a score, each with its law, its event and a cap."""

from collections.abc import Mapping
from typing import Annotated, Literal

import dp_accounting as dp
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.privacy.accountant.events import pure_step

StepNoise = Literal["gaussian", "laplace"]
ScoreKind = Literal["count", "confusion_matrix", "clipped_mean_loss"]
Law = Mapping[str, str | float | int]  # what one token stands for, as JSON values
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A declaration: it cannot be changed after the fact, and it refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StepCap(Frozen):
    """At most `num_steps` noisy sums over Poisson samples: all trials, retries and spare steps of a sweep together.

    Args:
        sampling_prob: of each example, in (0, 1].
        noise_multiplier: noise in multiples of the clipping norm: standard deviation for Gaussian noise and an L2 clip,
            scale (1/√2 of the standard deviation) for Laplace noise and an L1 clip.
        num_coordinates: length of the clipped vector; matters for Laplace noise only.
        rounding_share: of the clipping norm: how far an example may move the rest of a sum, as the other examples'
            values are rounded otherwise beside it. The sensitivity is 1 + this share (docs/proofs/rounding.md).
    """

    sampling_prob: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Positive
    num_steps: Annotated[int, Field(ge=1)]
    noise: StepNoise = "gaussian"
    num_coordinates: Annotated[int, Field(ge=1)] = 1
    rounding_share: Annotated[float, Field(ge=0, le=1, exclude_if=lambda share: not share)] = 0.0

    def event(self) -> dp.DpEvent:
        release = _noisy_vector(self.noise, self.noise_multiplier / (1.0 + self.rounding_share), self.num_coordinates)
        return dp.PoissonSampledDpEvent(self.sampling_prob, release)

    def law(self) -> dict[str, str | float | int]:
        """Return what one token stands for, as JSON values."""
        law = _law(self.noise, self.noise_multiplier, self.sampling_prob, self.num_coordinates)
        return law | ({"rounding_share": self.rounding_share} if self.rounding_share else {})


class EvaluationCap(Frozen):
    """At most `count` noisy scores over the private rows: sensitivity 1, every row looked at.

    The metrics are a count of hits, a confusion matrix (one record is in one cell, each cell gets noise) and a sum of
    losses clipped to [0, B], in units of B. The noise multiplier is the noise's scale in those units; a record moves
    one number by 1 at most, so the sensitivity is 1 in L1 as in L2.
    """

    noise_multiplier: Positive
    count: Annotated[int, Field(ge=1)]
    metric: ScoreKind = "count"
    noise: StepNoise = "gaussian"
    num_coordinates: Annotated[int, Field(ge=1)] = 1

    def event(self) -> dp.DpEvent:
        return _noisy_vector(self.noise, self.noise_multiplier, self.num_coordinates)

    def law(self) -> dict[str, str | float | int]:
        return _law(self.noise, self.noise_multiplier, 1.0, self.num_coordinates) | {"metric": self.metric}


def _noisy_vector(noise: StepNoise, noise_multiplier: float, num_coordinates: int) -> dp.DpEvent:
    """Return the event of a noisy vector of sensitivity 1: in L2 with Gaussian noise, in L1 with Laplace noise.

    Formal guarantees:
        Gaussian noise is rotation invariant, so one number and K numbers cost the same. Laplace noise on one number has
        its own distribution; on K numbers it is (1/σ)-DP and nothing more is used.
    """
    if noise == "gaussian":
        return dp.GaussianDpEvent(noise_multiplier)
    return dp.LaplaceDpEvent(noise_multiplier) if num_coordinates == 1 else pure_step(noise_multiplier)


def _law(
    noise: StepNoise, noise_multiplier: float, sampling_prob: float, num_coordinates: int
) -> dict[str, str | float | int]:
    law: dict[str, str | float | int] = {
        "noise": noise,
        "noise_multiplier": noise_multiplier,
        "sampling_prob": sampling_prob,
    }
    return law if noise == "gaussian" else law | {"num_coordinates": num_coordinates}
