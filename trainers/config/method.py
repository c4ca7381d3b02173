"""The method and its settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainers.methods.settings import MaskConfig, check, filled
from trainers.schedules import Schedule
from trainers.sections import Count, Decay, Section


class MethodConfig(Section):
    """The method and its settings; none of them enters epsilon but num_steps."""

    name: Literal["mezo", "dp-zo", "dpzero", "dp-zoso", "dp-zopo", "dp-aggzo", "dp-sgd", "dp-adamw", "adamw"] = Field(
        default="dp-aggzo", description="A method of the catalogue."
    )
    num_steps: Count = Field(default=1000, description="Steps T of one run (one trial of a sweep).")
    num_directions: Count = Field(
        default=16,
        description="Directions K a step; 2K forward passes of the batch (see difference). 1 when absent for a method "
        "whose paper takes one.",
    )
    smoothing: Schedule = Field(default=1e-3, description="Perturbation radius λ, in units of a parameter.")
    clip_norm: Schedule = Field(
        default=5.0, description="L2 bound C on an example's K-vector (or gradient), nats per parameter unit."
    )
    learning_rate: Schedule = Field(default=1e-5, description="Learning rate η; η_0 of a staged method.")
    direction: Literal["gaussian", "rademacher", "sphere", "orthonormal", "low-rank"] = Field(
        default="gaussian",
        description="Law of the directions z: independent values, uniform on the sphere of radius √d, K orthogonal "
        "ones of norm √d, or U Vᵀ for each matrix.",
    )
    direction_rank: Count = Field(default=1, description="Columns of U and V; used with direction: low-rank.")
    difference: Literal["two-sided", "one-sided", "centred"] = Field(
        default="two-sided",
        description="Two-sided takes 2K forward passes; one-sided K + 1, with one loss at θ for all directions; "
        "centred K, which are one-sided less their mean over directions.",
    )
    stage_steps: Count | None = Field(
        default=None, description="Steps T_0 of the first stage; each one after it takes twice as many."
    )
    proximal: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="Pull ρ = 1/γ towards the θ that a stage began with."
    )
    mask: MaskConfig | None = Field(default=None, description="Which parameters train, of DP-ZOPO.")
    shrinkage: Decay | None = Field(
        default=None, description="Shrink noisy values by their known noise, as estimated over steps with this decay."
    )
    momentum: Decay = Field(default=0.0, description="Decay of a running mean of released updates; needs memory of θ.")
    weight_decay: Decay = Field(
        default=0.0, description="Of a first-order method: a step takes this share of θ away, times η."
    )
    rms_decay: Decay | None = Field(
        default=None, description="Divide noisy values by their root mean square over steps, of this decay, as Adam."
    )
    preset: str | None = Field(
        default=None, description="A paper's settings for one model, 'dpzero/roberta-large'; what is given goes first."
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="PUBLIC key of the directions and of rounding. Noise and batches never depend on it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, values: Any) -> Any:
        """Fill in what the preset and the method settle."""
        return filled(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _settings_agree(self) -> MethodConfig:
        check(self)
        return self

    @property
    def num_probes(self) -> int:
        """Forward passes of the batch in a step."""
        return {"two-sided": 2 * self.num_directions, "one-sided": self.num_directions + 1}.get(
            self.difference, self.num_directions
        )
