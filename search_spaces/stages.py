"""Stages as one thing: their number, and η, C and λ of each as a start and ratios, which keep them in order.

`method.stages` in a space stands for the parameters `method.stages.number`, `method.stages.learning_rate.start`,
`method.stages.learning_rate.ratio.1` (of the second stage to the first) and so on. Ratios of stages that a trial does
not have are not asked for. Stages double in length, as in Liu et al. (2024), arXiv:2402.07818; T_0 follows from their
number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from search_spaces.conditions import Between
from search_spaces.errors import refuse
from search_spaces.parameters import Parameter
from trainers.config.schedules import stage_starts
from trainers.config.sections import Section

STAGES = "method.stages"
NUMBER = f"{STAGES}.number"
_SCHEDULED = ("learning_rate", "clip_norm", "smoothing")
_NAME = re.compile(rf"method\.stages\.(number|({'|'.join(_SCHEDULED)})\.(start|ratio\.[1-9]\d?))")
_MOST = 30  # stages: the last would take 2³⁰ times as many steps as the first


def _whole(number: Parameter) -> Parameter:
    if any(type(end) is not int or not 1 <= end <= _MOST for end in number.ends):
        raise ValueError(f"the number of stages is a whole number from 1 to {_MOST}, got {list(number.ends)}")
    return number


def _falling(ratio: Parameter) -> Parameter:
    if any(not isinstance(end, int | float) or not 0 < end <= 1 for end in ratio.ends):
        raise ValueError(f"values fall from stage to stage: a ratio is above 0 and at most 1, got {list(ratio.ends)}")
    return ratio


class Falling(Section):
    """A setting with a value for each stage."""

    start: Parameter = Field(description="Value of the first stage.")
    ratio: Annotated[Parameter, AfterValidator(_falling)] | None = Field(
        None, description="Value of a stage over that of the one before; when absent the value stays."
    )


def _as_start(given: Any) -> Any:
    """Return a distribution alone as one of a value that stays."""
    return (
        given if isinstance(given, Falling) or (isinstance(given, Mapping) and "start" in given) else {"start": given}
    )


_Setting = Annotated[Falling, BeforeValidator(_as_start)] | None


class Stages(Section):
    """The stages of a trial."""

    number: Annotated[
        Parameter,
        BeforeValidator(lambda given: {"choices": [given]} if type(given) is int else given),
        AfterValidator(_whole),
    ] = Field(description="How many; T_0 is such that stages of T_0, 2·T_0, 4·T_0, … steps fill the run.")
    learning_rate: _Setting = Field(None, description="η of the stages.")
    clip_norm: _Setting = Field(None, description="C of the stages.")
    smoothing: _Setting = Field(None, description="λ of the stages.")
    proximal: Parameter | None = Field(None, description="ρ of all stages; may be switched off by a choice of 0.")


def with_stages(space: Any) -> Any:
    """Return a mapping in which `method.stages` is spread out to its parameters; anything else as it is."""
    if not isinstance(space, Mapping) or STAGES not in space:
        return space
    try:
        stages = Stages.model_validate(space[STAGES])
    except ValidationError as error:
        refuse("Space", [((STAGES, *map(str, problem["loc"])), _message(problem)) for problem in error.errors()])
    others = {name: parameter for name, parameter in space.items() if name != STAGES}
    return {**_parameters(stages), **others}


def _message(problem: Any) -> str:
    return str(problem["msg"]).removeprefix("Value error, ")


def _parameters(stages: Stages) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {NUMBER: stages.number}
    for name in _SCHEDULED:
        setting: Falling | None = getattr(stages, name)
        if setting is None:
            continue
        found[f"{STAGES}.{name}.start"] = setting.start
        if (ratio := setting.ratio) is None:
            continue
        for stage in range(1, int(max(stages.number.ends))):
            when = {NUMBER: Between(above=stage, below=None), **(ratio.when or {})}
            found[f"{STAGES}.{name}.ratio.{stage}"] = ratio.model_copy(update={"when": when})
    return found if stages.proximal is None else found | {"method.proximal": stages.proximal}


def is_of_stages(name: str) -> bool:
    """Return whether a name is that of a parameter of the stages."""
    return _NAME.fullmatch(name) is not None


def type_in_stages(name: str) -> type:
    """Return the type of a parameter of the stages."""
    return int if name == NUMBER else float


def settings_of_stages(values: Mapping[str, Any], num_steps: int) -> dict[str, Any]:
    """Return values with those of the stages as settings of the method: T_0, and a schedule of one value a stage.

    ValueError if the stages do not fit into `num_steps` steps, or their number is missing.
    """
    own = {name: value for name, value in values.items() if is_of_stages(name)}
    if not own:
        return dict(values)
    if NUMBER not in own:
        raise ValueError(f"{NUMBER}: missing: write method.stages: {{number: …}}, as docs/search.md shows")
    number, settings = own[NUMBER], {name: value for name, value in values.items() if name not in own}
    first = -(-num_steps // (2**number - 1))
    if len(stage_starts(num_steps, first)) != number:
        raise ValueError(
            f"{NUMBER}: {number} stages, each twice as long as the one before, need more than {num_steps} steps"
        )
    settings["method.stage_steps"] = first
    for name in _SCHEDULED:
        if (start := own.get(f"{STAGES}.{name}.start")) is None:
            continue
        numbers = [start]
        for stage in range(1, number):
            numbers.append(numbers[-1] * own.get(f"{STAGES}.{name}.ratio.{stage}", 1.0))
        settings[f"method.{name}"] = {"kind": "stagewise", "values": numbers}
    return settings
