"""The `method.mask` section: the pruning mask of DP-ZOPO."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainers.config.removed import REMOVED_SCORES
from trainers.config.schedules import Schedule
from trainers.config.sections import Count, Positive, Searchable, Section


class MaskConfig(Section):
    """A mask made without data: the parameters that directions move."""

    keep: Annotated[Schedule, Searchable()] = Field(
        default=0.01, description="Share of the parameters that train; stagewise for incremental."
    )
    scores: Annotated[Literal["synflow", "magnitude"], REMOVED_SCORES, Searchable()] = Field(
        default="synflow",
        description="Score that ranks a parameter: weight times slope of the model's output for a constant input "
        "(synflow), or the size of the weight (magnitude).",
    )
    rank: Annotated[Literal["global", "tensor"], Searchable()] = Field(
        default="global", description="Rank all parameters together, or those of each tensor by themselves."
    )
    strategy: Literal["static", "dynamic", "incremental"] = Field(
        default="static",
        description="Made once (static), anew at each stage (dynamic), or grown or shrunk at each stage (incremental).",
    )
    num_directions: Annotated[Count, Searchable()] = Field(
        default=32, description="Number of public directions along which slopes are measured."
    )
    smoothing: Annotated[Positive, Searchable()] = Field(
        default=1e-3, description="Radius of those measurements, in units of a parameter."
    )

    @model_validator(mode="after")
    def _strategy_and_keep_agree(self) -> MaskConfig:
        varies = isinstance(self.keep, Section)
        if self.strategy == "static" and varies:
            raise ValueError("a static mask keeps one share: give keep a number, or choose strategy incremental")
        if self.strategy == "incremental" and not varies:
            raise ValueError(
                "an incremental mask needs a keep for each stage: keep: {kind: stagewise, start: 0.01, factor: 2}"
            )
        return self
