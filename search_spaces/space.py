"""The search space: distributions by dotted name, and the ways to draw from them.

The same space serves Optuna (adaptive samplers, `define_by_run`) and independent draws (`sample`), under the same flat
keys. This is the only file here that talks to Optuna, through the trial that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import AfterValidator, BeforeValidator, ConfigDict, RootModel

from search_spaces.errors import refuse
from search_spaces.paper_grids import grid_of
from search_spaces.parameters import Choices, FloatRange, IntRange, Parameter, Value
from search_spaces.searchable import FILTERED, filter_searchable, searchable, type_of
from trainers.config import RunConfig

if TYPE_CHECKING:
    import optuna


class UniformSource(Protocol):
    """Uniform numbers in [0, 1): `random.Random`, `secrets.SystemRandom` or a numpy Generator."""

    def random(self) -> float: ...


def _fitted(name: str, parameter: Parameter) -> Parameter:
    """Return the distribution in the type of its setting: whole numbers become floats for a float setting."""
    kind = type_of(name)
    if isinstance(parameter, Choices) or (kind is int and isinstance(parameter, IntRange)):
        return parameter
    if kind is int:
        raise ValueError(f"takes whole numbers: write low and high without a decimal point, got {parameter.ends}")
    if kind is not float:
        raise ValueError(f"has no order to range over: write {{choices: {list(getattr(kind, '__args__', ()))}}}")
    if isinstance(parameter, IntRange) and "step" in parameter.model_fields_set:
        raise ValueError("step is for settings that are whole numbers: list the values as choices")
    return FloatRange(low=parameter.low, high=parameter.high, log=parameter.log)


def _all_fitted(parameters: Mapping[str, Parameter]) -> Mapping[str, Parameter]:
    """Return every distribution fitted to its setting; one problem for each that does not fit."""
    if not parameters:
        raise ValueError("needs at least one setting to vary, such as method.learning_rate")
    fitted: dict[str, Parameter] = {}
    problems = []
    for name, parameter in parameters.items():
        try:
            fitted[name] = _fitted(name, parameter)
        except ValueError as error:
            problems.append(((name,), str(error)))
    if problems:
        refuse("SearchSpace", problems)
    return fitted


class SearchSpace(
    RootModel[
        Annotated[
            Mapping[Annotated[str, AfterValidator(searchable)], Parameter],
            BeforeValidator(grid_of),
            AfterValidator(_all_fitted),
        ]
    ]
):
    """What a sweep varies: a mapping from dotted names of the run configuration to distributions, or a paper's grid.

    Formal guarantees: no name in it enters the event of the accountant. So a trial drawn from it, by any rule and after
    any releases, is covered by the caps of its sweep (rule 1 of the accounting).
    """

    model_config = ConfigDict(frozen=True)


_Filtered = Annotated[str, AfterValidator(filter_searchable)]


class FilterSpace(RootModel[Annotated[Mapping[_Filtered, Parameter], AfterValidator(_all_fitted)]]):
    """What a sweep under a Rényi filter also varies: names that do enter the event."""

    model_config = ConfigDict(frozen=True)


def define_by_run(parameters: Mapping[str, Parameter]) -> Callable[[optuna.Trial], None]:
    """Return a picklable function that asks an Optuna trial for settings, for Ray Tune's `OptunaSearch(space=…)`."""
    return partial(_ask, parameters)


def _ask(parameters: Mapping[str, Parameter], trial: optuna.Trial) -> None:
    for name, parameter in parameters.items():
        match parameter:
            case FloatRange():
                trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
            case IntRange():
                trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
            case Choices():
                trial.suggest_categorical(name, parameter.choices)


def sample(space: SearchSpace, rng: UniformSource) -> dict[str, Value]:
    """Draw once: flat dotted names → values, in the order of the space.

    Formal guarantees: successive draws are independent and identically distributed if the numbers of `rng` are: a draw
    depends on one number for each setting and nothing else. The law is that of Optuna's RandomSampler.
    """
    return {name: parameter.quantile(float(rng.random())) for name, parameter in space.root.items()}


def apply(config: RunConfig, values: Mapping[str, Any], *, filtered: bool = False) -> RunConfig:
    """Return the run configuration of one trial: `config` with flat dotted `values` in place of its own.

    Other sections of a sweep's configuration are left out. Where a Rényi filter counts the trial (`filtered`), values
    may also enter the event. ValueError for a name that a sweep may not vary, or a value that the sections refuse.
    """
    sections = {name: getattr(config, name) for name in RunConfig.model_fields}
    changed: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        try:
            allowed = name if filtered and name in FILTERED else searchable(name)
            section, *place = allowed.split(".")
            _put(changed.setdefault(section, sections[section].model_dump(mode="json")), place, value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return RunConfig.model_validate({**sections, **changed})


def _put(values: Any, place: Sequence[str], value: Any) -> None:
    """Put a value at a place inside a section; the configuration must have the schedule or mask around it."""
    *outer, last = place
    for key in outer:
        values = values.get(key) if isinstance(values, dict) else _item(values, key)
    if not outer:
        values[last] = value
    elif isinstance(values, list) and last.isdigit() and int(last) < len(values):
        values[int(last)] = value
    elif isinstance(values, dict) and values.get(last) is not None:
        values[last] = value
    else:
        raise ValueError(
            f"method.{outer[0]} has no {'.'.join([*outer[1:], last])} to vary: write the schedule or mask into the "
            "method section, and the trials change the value that stands there"
        )


def _item(values: Any, key: str) -> Any:
    return values[int(key)] if isinstance(values, list) and key.isdigit() and int(key) < len(values) else None


def refused_ends(space: SearchSpace | FilterSpace, config: RunConfig) -> Iterator[tuple[str, Value, ValueError]]:
    """Yield the ends of ranges, and the choices, that a run configuration refuses, each tried in `config` alone.

    A setting is valid between two valid ends, so no trial of a space without refused ends fails for its values.
    """
    for name, parameter in space.root.items():
        for end in parameter.ends:
            try:
                apply(config, {name: end}, filtered=isinstance(space, FilterSpace))
            except ValueError as error:  # pydantic's, or nothing stands at that place
                yield name, end, error
