"""Conditions of a parameter: it is asked for only where other parameters of the space have certain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from trainers.config.sections import Section

_Bound = Annotated[float, Field(allow_inf_nan=False)]


class Between(Section):
    """Holds for numbers above one bound and below another, bounds excluded."""

    above: _Bound | None = Field(None, description="The number must be larger than this.")
    below: _Bound | None = Field(None, description="The number must be smaller than this.")

    @model_validator(mode="after")
    def _some_bound(self) -> Between:
        if self.above is None and self.below is None:
            raise ValueError("give above, below, or both")
        if self.above is not None and self.below is not None and not self.above < self.below:
            raise ValueError(f"above must be less than below, got above {self.above:g} and below {self.below:g}")
        return self


def _bounds_or_values(given: Any) -> Any:
    """Return bounds as they are, and everything else as a tuple of values."""
    if isinstance(given, Between):
        return given
    if isinstance(given, Mapping) and given.keys() <= {"above", "below"}:
        return Between.model_validate(given)
    values = given if isinstance(given, list | tuple) else [given]
    return tuple(json.dumps(value) if isinstance(value, Mapping) else value for value in values)


def _some_value(condition: Any) -> Any:
    if condition == ():
        raise ValueError("give at least one value")
    return condition


Condition = Annotated[Between | tuple[Any, ...], BeforeValidator(_bounds_or_values), AfterValidator(_some_value)]
"""Bounds, or values of which one must be taken: `{above: 0}`, `[100, 200]`, or one value alone."""


def holds(condition: Condition, value: Any) -> bool:
    """Return whether a parameter's value satisfies a condition."""
    if not isinstance(condition, Between):
        return value in condition
    is_number = isinstance(value, int | float)
    return (
        is_number
        and (condition.above is None or value > condition.above)
        and (condition.below is None or value < condition.below)
    )


def text_of(condition: Condition) -> str:
    """Return a condition in words: 'above 0', 'is 100 or 200'."""
    if isinstance(condition, Between):
        bounds = {"above": condition.above, "below": condition.below}
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    return f"is {' or '.join(map(str, condition))}"
