"""Schedules: settings that change from step to step, as data in a configuration and as pure functions step → value.

A plain number is a schedule that never changes. Every other schedule is a mapping with a `kind`. Stages are joined
schedules, and `stagewise` gives one value to each stage of the method. A schedule knows the step and public settings
alone, so it can be planned, plotted and replayed. What enters the event of a step (sampling probability, noise
multiplier, number of steps) takes no schedule, so schedules do not touch the privacy analysis.
`auto` is none (auto.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from trainers.config.auto import AUTO, AutoClip, AutoRate
from trainers.config.sections import Count, Positive, Section


class Constant(Section):
    """One value; the same as a plain number."""

    kind: Literal["constant"] = "constant"
    value: Positive = Field(description="Value at every step.")


class StepDecay(Section):
    """A value that is multiplied by a factor at regular intervals."""

    kind: Literal["step"]
    start: Positive = Field(description="Value at the first step.")
    factor: Positive = Field(description="Factor of each multiplication.")
    every: Count = Field(description="Steps between two multiplications.")


class Cosine(Section):
    """From start to end along half a cosine."""

    kind: Literal["cosine"]
    start: Positive = Field(description="Value at the first step.")
    end: Positive = Field(description="Value at the last step.")


class Geometric(Section):
    """From start to end by equal factors."""

    kind: Literal["geometric"]
    start: Positive = Field(description="Value at the first step.")
    end: Positive = Field(description="Value at the last step.")


class Stagewise(Section):
    """One value a stage of the method: start · factor^stage, or a list whose last value stays."""

    kind: Literal["stagewise"]
    start: Positive | None = Field(default=None, description="Value of the first stage.")
    factor: Positive | None = Field(default=None, description="Factor from one stage to the next.")
    values: tuple[Positive, ...] | None = Field(default=None, min_length=1, description="The values, stage by stage.")

    @model_validator(mode="after")
    def _one_form(self) -> Stagewise:
        ends = (self.start, self.factor)
        if (self.values is None and None in ends) or (self.values is not None and ends != (None, None)):
            raise ValueError("give start and factor, or values: one of the two")
        return self


class Part(Section):
    """A schedule of a given length."""

    num_steps: Count = Field(description="Steps of this part; the last part lasts to the end of the run.")
    schedule: Annotated[Schedule, Field(description="A number, or a schedule over the steps of this part.")]


class Joined(Section):
    """Schedules one after the other."""

    kind: Literal["joined"]
    parts: tuple[Part, ...] = Field(min_length=1, description="The parts, in order.")


SCHEDULE_KINDS: dict[str, type[Section]] = {
    "<constant>": Constant,
    "<step>": StepDecay,
    "<cosine>": Cosine,
    "<geometric>": Geometric,
    "<stagewise>": Stagewise,
    "<joined>": Joined,
    "<auto>": AutoClip,
    "<auto rate>": AutoRate,
}
"""Kinds of schedules by the tag that pydantic puts into the place of an error."""
NUMBER = "<number>"


def _tag(value: Any) -> str | None:
    """Return the tag of a value; everything but a mapping is taken for a number, and refused as one."""
    if isinstance(value, Section):
        return next((tag for tag, kind in SCHEDULE_KINDS.items() if type(value) is kind), None)
    if not isinstance(value, Mapping):
        return "<auto>" if value == AUTO else NUMBER
    tag = f"<{value.get('kind')}>"
    return tag if tag in SCHEDULE_KINDS else None


_BY_STEP = (
    Annotated[Positive, Tag(NUMBER)]
    | Annotated[Constant, Tag("<constant>")]
    | Annotated[StepDecay, Tag("<step>")]
    | Annotated[Cosine, Tag("<cosine>")]
    | Annotated[Geometric, Tag("<geometric>")]
    | Annotated[Stagewise, Tag("<stagewise>")]
    | Annotated[Joined, Tag("<joined>")]
)


def _by_tag(kinds: str, auto: str = "<auto>") -> Discriminator:
    def tag(value: Any) -> str | None:
        found = _tag(value)
        return auto if found == "<auto>" and not isinstance(value, Section) else found

    text = f"must be a number, or a schedule: {{kind: {kinds}, …}}, such as {{kind: cosine, start: 1e-3, end: 1e-5}}"
    return Discriminator(tag, custom_error_type="schedule_form", custom_error_message=text)


Schedule = Annotated[_BY_STEP, _by_tag("constant, step, cosine, geometric, stagewise or joined")]
"""A number above 0, or a schedule of such numbers."""
_OR_AUTO = "constant, step, cosine, geometric, stagewise, joined or auto"
ClipSchedule = Annotated[_BY_STEP | Annotated[AutoClip, Tag("<auto>")], _by_tag(_OR_AUTO)]
RateSchedule = Annotated[_BY_STEP | Annotated[AutoRate, Tag("<auto rate>")], _by_tag(_OR_AUTO, "<auto rate>")]
SomeSchedule = ClipSchedule | RateSchedule

Part.model_rebuild()
Joined.model_rebuild()


def stage_starts(num_steps: int, first_stage_steps: int | None) -> tuple[int, ...]:
    """Return the first step of each stage: stage s takes T_0 · 2^s steps, the last one the rest of `num_steps`.

    Without `first_stage_steps` (T_0) there is one stage. Source: Liu et al. (2024), arXiv:2402.07818.
    """
    starts, start = [0], first_stage_steps
    while start is not None and start < num_steps:
        starts.append(start)
        start = 2 * start + (first_stage_steps or 0)
    return tuple(starts)


def as_function(schedule: SomeSchedule, num_steps: int, starts: Sequence[int] = (0,)) -> Callable[[int], float]:
    """Return step → value of a schedule with stages that begin at `starts`; steps after the last one keep its value.

    TypeError for `auto`, whose value no step alone tells.
    """
    if isinstance(schedule, AutoClip | AutoRate):
        raise TypeError("auto is no function of the step")
    if not isinstance(schedule, Section):
        return lambda step: float(schedule)
    if isinstance(schedule, Joined):
        return _joined(schedule, num_steps, starts)
    return lambda step: _value(schedule, min(step, num_steps - 1), num_steps, starts)


def points(
    schedule: SomeSchedule, num_steps: int, starts: Sequence[int] = (0,), most: int = 500
) -> list[tuple[int, float]]:
    """Return (step, value) of a schedule at up to `most` evenly spaced steps, with the first and the last step."""
    value, last = as_function(schedule, num_steps, starts), num_steps - 1
    spaced = min(most, num_steps)
    steps = sorted({round(last * index / max(1, spaced - 1)) for index in range(spaced)})
    return [(step, value(step)) for step in steps]


def uses_stages(schedule: SomeSchedule) -> bool:
    if isinstance(schedule, Joined):
        return any(uses_stages(part.schedule) for part in schedule.parts)
    return isinstance(schedule, Stagewise)


def _value(schedule: Section, step: int, num_steps: int, starts: Sequence[int]) -> float:
    progress = step / max(1, num_steps - 1)
    match schedule:
        case Constant(value=value):
            return value
        case StepDecay(start=start, factor=factor, every=every):
            return start * factor ** (step // every)
        case Cosine(start=start, end=end):
            return end + (start - end) * (1.0 + math.cos(math.pi * progress)) / 2.0
        case Geometric(start=start, end=end):
            return start * (end / start) ** progress
        case Stagewise(start=start, factor=factor, values=values):
            stage = sum(begin <= step for begin in starts) - 1
            if values is not None:
                return values[min(stage, len(values) - 1)]
            assert start is not None and factor is not None  # noqa: PT018 - Stagewise requires both
            return start * factor**stage
    raise AssertionError(schedule)


def _joined(schedule: Joined, num_steps: int, starts: Sequence[int]) -> Callable[[int], float]:
    begins, functions, begin = [], [], 0
    for number, part in enumerate(schedule.parts, start=1):
        is_last = number == len(schedule.parts)
        length = max(1, num_steps - begin) if is_last else part.num_steps
        begins.append(begin)
        functions.append(as_function(part.schedule, length, [start - begin for start in starts]))
        begin += length

    def value(step: int) -> float:
        index = max(i for i, first in enumerate(begins) if first <= step or i == 0)
        return functions[index](step - begins[index])

    return value
