"""What every section of a configuration is built from."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Searchable:
    """Mark of a field that a sweep may vary, `Annotated[Count, Searchable()]`: it leaves the event of a step alone.

    With `only_under_filter` it does enter the event, and so may vary under a Rényi filter alone.
    """

    only_under_filter: bool = False


class Section(BaseModel):
    """A frozen section that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
