"""Distributions of one hyperparameter: a range of numbers, a range of whole numbers, or a list of choices.

Each is a frozen model with its inverse distribution function, so that one uniform number gives one value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from trainers.config.sections import Count, Section

Value = float | int | str
Finite = Annotated[float, Field(allow_inf_nan=False)]


class FloatRange(Section):
    """Numbers from low to high, uniform or uniform in the logarithm."""

    low: Finite = Field(description="Smallest value, included.")
    high: Finite = Field(description="Largest value, included.")
    log: bool = Field(False, description="Uniform in the logarithm; needs low above 0.")

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_ends(self.low, self.high, self.log)
        return self

    @property
    def ends(self) -> tuple[float, ...]:
        """Values between which all others lie."""
        return (self.low, self.high)

    def quantile(self, uniform: float) -> float:
        """Return the value below which a share `uniform`, in [0, 1), of the distribution lies."""
        if self.log:
            value = math.exp(_between(math.log(self.low), math.log(self.high), uniform))
        else:
            value = _between(self.low, self.high, uniform)
        return min(max(value, self.low), self.high)  # rounding must not leave the range


class IntRange(Section):
    """Whole numbers from low to high in equal steps: equally likely, or (log) each about as likely as 1 / itself."""

    low: int = Field(description="Smallest value, included.")
    high: int = Field(description="Largest value, included.")
    log: bool = Field(False, description="Uniform in the logarithm; needs low of at least 1 and step 1.")
    step: Count = Field(1, description="Distance of neighbours.")

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_ends(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError(f"a logarithmic range has step 1, got step {self.step}: list the values as choices")
        beyond = (self.high - self.low) % self.step
        if beyond:
            raise ValueError(
                f"high must be low plus a multiple of step: {self.high} is not, {self.high - beyond} would be"
            )
        return self

    @property
    def ends(self) -> tuple[int, ...]:
        return (self.low, self.high)

    def quantile(self, uniform: float) -> int:
        if self.log:  # every whole number owns the half unit on both sides of it, as in Optuna
            value = round(math.exp(_between(math.log(self.low - 0.5), math.log(self.high + 0.5), uniform)))
        else:
            value = self.low + self.step * math.floor(uniform * ((self.high - self.low) // self.step + 1))
        return min(max(value, self.low), self.high)


def _plain(choice: Any) -> Value:
    """Return a choice as it is, if it is a finite number or text."""
    number = isinstance(choice, int | float) and not isinstance(choice, bool) and math.isfinite(choice)
    if not number and not isinstance(choice, str):
        raise ValueError(f"a choice is a finite number or a text, got {choice!r}")
    return choice


class Choices(Section):
    """Values listed one by one, all equally likely."""

    choices: tuple[Annotated[Any, AfterValidator(_plain)], ...] = Field(
        min_length=1, description="The values, each listed once."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Choices:
        twice = [value for i, value in enumerate(self.choices) if value in self.choices[:i]]
        if twice:
            raise ValueError(f"each choice must be listed once, {twice[0]!r} is listed again")
        return self

    @property
    def ends(self) -> tuple[Value, ...]:
        """All choices: none lies between others."""
        return self.choices

    def quantile(self, uniform: float) -> Value:
        return self.choices[min(math.floor(uniform * len(self.choices)), len(self.choices) - 1)]


PARAMETER_KINDS = {"<range>": FloatRange, "<whole numbers>": IntRange, "<choices>": Choices}
"""Kinds by the tag that pydantic puts into the place of an error."""


def _kind(value: Any) -> str | None:
    """Return the tag of a value; a range is of whole numbers if both its ends are written as such."""
    if isinstance(value, Section):
        return next((tag for tag, kind in PARAMETER_KINDS.items() if isinstance(value, kind)), None)
    if not isinstance(value, Mapping):
        return None
    if "choices" in value:
        return "<choices>"
    ends = (value.get("low"), value.get("high"))
    return "<whole numbers>" if all(type(end) is int for end in ends) else "<range>"


Parameter = Annotated[
    Annotated[FloatRange, Tag("<range>")]
    | Annotated[IntRange, Tag("<whole numbers>")]
    | Annotated[Choices, Tag("<choices>")],
    Discriminator(
        _kind,
        custom_error_type="parameter_form",
        custom_error_message="must be a range, {low: …, high: …, log: true}, or a list, {choices: […]}",
    ),
]


def _check_ends(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"low must be below high, got low {low:g} and high {high:g}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs low above 0, got {low:g}: raise low, or drop log")


def _between(low: float, high: float, share: float) -> float:
    """Return the point `share` of the way from low to high, without overflow."""
    return low * (1.0 - share) + high * share
