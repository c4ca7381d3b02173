"""Distributions of one hyperparameter: a range of numbers, a range of whole numbers, or a list of choices.

Each is a frozen model with its inverse distribution function, so that one uniform number gives one value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from search_spaces.conditions import Condition
from search_spaces.other_libraries import as_form
from trainers.config.sections import Count, Positive, Section

Value = float | int | str | None
Finite = Annotated[float, Field(allow_inf_nan=False)]
_ABSENT: Any = object()
_WHEN = Field(None, description="Conditions: the parameter is asked for only where each other one named here holds.")
_ROUNDING = 1e-9  # of a step, in counting the steps of a range


class _Range(Section):
    """What ranges share: `Float(1e-4, 1e-2, log=True)` is `Float(low=1e-4, high=1e-2, log=True)`."""

    def __init__(self, low: Any = _ABSENT, high: Any = _ABSENT, /, **fields: Any) -> None:
        given = {"low": low, "high": high}
        super().__init__(**{name: end for name, end in given.items() if end is not _ABSENT}, **fields)


class Float(_Range):
    """Numbers from low to high, uniform or uniform in the logarithm."""

    low: Finite = Field(description="Smallest value, included.")
    high: Finite = Field(description="Largest value, included.")
    log: bool = Field(False, description="Uniform in the logarithm; needs low above 0 and no step.")
    step: Positive | None = Field(None, description="Distance of neighbours; every number of the range when absent.")
    when: Mapping[str, Condition] | None = _WHEN

    @model_validator(mode="after")
    def _ordered(self) -> Float:
        _check_ends(self.low, self.high, self.log)
        if self.step is not None:
            _check_step(self.low, self.high, self.log, self.step)
        return self

    @property
    def ends(self) -> tuple[float, ...]:
        """Values between which all others lie."""
        return (self.low, self.high)

    def quantile(self, uniform: float) -> float:
        """Return the value below which a share `uniform`, in [0, 1), of the distribution lies."""
        if self.step is not None:
            value = self.low + self.step * math.floor(uniform * (round((self.high - self.low) / self.step) + 1))
        elif self.log:
            value = math.exp(_between(math.log(self.low), math.log(self.high), uniform))
        else:
            value = _between(self.low, self.high, uniform)
        return min(max(value, self.low), self.high)  # rounding must not leave the range


class Int(_Range):
    """Whole numbers from low to high in equal steps: equally likely, or (log) each about as likely as 1 / itself."""

    low: int = Field(description="Smallest value, included.")
    high: int = Field(description="Largest value, included.")
    log: bool = Field(False, description="Uniform in the logarithm; needs low of at least 1 and step 1.")
    step: Count = Field(1, description="Distance of neighbours.")
    when: Mapping[str, Condition] | None = _WHEN

    @model_validator(mode="after")
    def _ordered(self) -> Int:
        _check_ends(self.low, self.high, self.log)
        if self.step != 1:
            _check_step(self.low, self.high, self.log, self.step)
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


def as_value(choice: Any) -> Value:
    """Return a choice as it is stored and shown: a number, a text or None; of a schedule, its JSON text.

    ValueError if it is none of these, or holds a number that is not finite.
    """
    is_number = isinstance(choice, int | float) and not isinstance(choice, bool)
    if choice is None or isinstance(choice, str) or (is_number and math.isfinite(choice)):
        return choice
    if isinstance(choice, Section):
        return as_value(choice.model_dump(mode="json", exclude_none=True))
    if isinstance(choice, Mapping):
        try:
            return json.dumps(choice, allow_nan=False)
        except (TypeError, ValueError):
            pass  # refused below
    raise ValueError(f"a choice is a finite number, a text, null or a schedule, got {choice!r}")


class Option(Section):
    """A choice with a space of its own: what is searched only where it is taken."""

    value: Annotated[Any, AfterValidator(as_value)] = Field(description="The choice.")
    space: Mapping[str, Parameter] = Field(description="What varies where this is chosen, by dotted name.")


def _choice(given: Any) -> Any:
    is_option = isinstance(given, Option) or (isinstance(given, Mapping) and given.keys() == {"value", "space"})
    return Option.model_validate(given) if is_option else as_value(given)


class Choice(Section):
    """Values listed one by one, all equally likely: `Choice([1, 2])` is `Choice(choices=[1, 2])`.

    A value may be a whole schedule, whose JSON text is then its name, and may bring a space of its own (`Option`).
    """

    choices: tuple[Annotated[Any, AfterValidator(_choice)], ...] = Field(
        min_length=1, description="The values, each listed once; or {value: …, space: {…}}."
    )
    when: Mapping[str, Condition] | None = _WHEN

    def __init__(self, choices: Any = _ABSENT, /, **fields: Any) -> None:
        super().__init__(**({} if choices is _ABSENT else {"choices": choices}), **fields)

    @model_validator(mode="after")
    def _distinct(self) -> Choice:
        values = self.ends
        twice = [value for i, value in enumerate(values) if value in values[:i]]
        if twice:
            raise ValueError(f"each choice must be listed once, {twice[0]!r} is listed again")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """All choices: none lies between others."""
        return tuple(choice.value if isinstance(choice, Option) else choice for choice in self.choices)

    def quantile(self, uniform: float) -> Value:
        values = self.ends
        return values[min(math.floor(uniform * len(values)), len(values) - 1)]


PARAMETER_KINDS = {"<range>": Float, "<whole numbers>": Int, "<choices>": Choice}
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
    Annotated[
        Annotated[Float, Tag("<range>")] | Annotated[Int, Tag("<whole numbers>")] | Annotated[Choice, Tag("<choices>")],
        Discriminator(
            _kind,
            custom_error_type="parameter_form",
            custom_error_message="must be a range, {low: …, high: …, log: true}, or a list, {choices: […]}",
        ),
    ],
    BeforeValidator(as_form),
]

Option.model_rebuild()
Choice.model_rebuild()


def _check_ends(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"low must be below high, got low {low:g} and high {high:g}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs low above 0, got {low:g}: raise low, or drop log")


def _check_step(low: float, high: float, log: bool, step: float) -> None:
    if log:
        raise ValueError(f"a logarithmic range has no step, got step {step:g}: list the values as choices")
    steps = (high - low) / step
    fitting = low + step * math.floor(steps + _ROUNDING)
    if abs(steps - round(steps)) > _ROUNDING * max(1.0, steps):
        raise ValueError(f"high must be low plus a multiple of step: {high:g} is not, {fitting:g} would be")


def _between(low: float, high: float, share: float) -> float:
    """Return the point `share` of the way from low to high, without overflow."""
    return low * (1.0 - share) + high * share
