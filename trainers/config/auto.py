"""Settings that a run finds by itself: a clip that follows its releases, and a learning rate from its noise.

`clip_norm: auto` and `learning_rate: auto` say it with the defaults. Both cost no ε: trainers/run/auto_clip.py and
trainers/run/auto_rate.py have the rules.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from trainers.config.sections import Positive, Section

AUTO = "auto"


class _Auto(Section):
    """Base: the one word `auto` is the section with its defaults."""

    kind: Literal["auto"]

    @model_validator(mode="before")
    @classmethod
    def _in_one_word(cls, value: Any) -> Any:
        return {"kind": AUTO} if value == AUTO else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"const": AUTO}, handler(core)]}


class AutoClip(_Auto):
    """A clip that follows the norms of the examples."""

    start: Positive = Field(default=5.0, description="C at the first step.")
    low: Positive | None = Field(default=None, description="Smallest C; start / 20 when absent.")
    high: Positive | None = Field(default=None, description="Largest C; start · 100 when absent.")

    @model_validator(mode="after")
    def _start_in_range(self) -> AutoClip:
        low, high = self.range
        if not low <= self.start <= high:
            raise ValueError(f"low ≤ start ≤ high is needed, got {low:g}, {self.start:g} and {high:g}")
        return self

    @property
    def range(self) -> tuple[float, float]:
        return self.low or self.start / 20.0, self.high or self.start * 100.0


class AutoRate(_Auto):
    """A learning rate from the noise, the size of the base weights and the number of steps."""

    distance: Positive = Field(
        default=0.1,
        description="How far noise alone moves θ over the whole run, as a share of the norm of the base weights.",
    )
