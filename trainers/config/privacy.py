"""The `privacy` section: the promise, and the rate and noise that keep it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from trainers.config.sections import Positive, Searchable, Section
from trainers.mechanism.plan import Adjacency, NoiseLaw


class PrivacyConfig(Section):
    """The promise, and the rate and noise that keep it."""

    epsilon: Positive | None = Field(default=None, description="Total epsilon; of a sweep, over all its trials.")
    delta: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=1e-5, description="Total delta; 0, pure epsilon, with Laplace noise only."
    )
    adjacency: Adjacency = Field(
        default="add-or-remove-one",
        description="How two neighbouring data sets differ: one example (or user) more, or another in its place.",
    )
    noise: NoiseLaw = Field(
        default="gaussian", description="Law of the noise, also on private scores; laplace clips K-vectors in L1."
    )
    noise_multiplier: Annotated[Positive | None, Searchable(only_under_filter=True)] = Field(
        default=None,
        description="σ: standard deviation (gaussian) or scale (laplace) of the noise / C. Calibrated to epsilon when "
        "absent.",
    )
    rounding_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Share of C by which one example may move the rest of a sum through rounding: ε is that of noise "
        "σ / (1 + share). When absent 0 where neighbours change no bit of a loss, else 0.01.",
    )
    expected_batch_size: Annotated[Positive, Searchable(only_under_filter=True)] = Field(
        default=64.0,
        description="B = q · num_examples (num_users, where they are the unit), the only divisor of a sum.",
    )
    spare_steps: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Steps that a run may repeat after a kill, paid in advance; an interrupted step stays charged.",
    )
    spare_scores: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Scores on private examples that a run may repeat after a kill, paid in advance."
    )

    @model_validator(mode="after")
    def _noise_can_promise_it(self) -> PrivacyConfig:
        if self.delta == 0 and self.noise == "gaussian":
            raise ValueError(
                "delta 0 asks for pure epsilon, which Gaussian noise cannot give: set noise: laplace, or a delta above "
                "0 and well below 1 / num_examples"
            )
        if self.noise == "laplace" and self.adjacency == "replace-one":
            raise ValueError(
                "noise laplace is accounted under add-or-remove-one only: use that adjacency, or noise: gaussian"
            )
        return self

    @field_validator("noise_multiplier", "expected_batch_size", mode="before")
    @classmethod
    def _no_schedule(cls, value: Any) -> Any:
        if isinstance(value, dict):
            raise ValueError(
                "takes no schedule: σ and q set the cost of a step, and all steps are counted at one cost. Schedule "
                "method.clip_norm, method.smoothing or method.learning_rate, which cost nothing"
            )
        return value
