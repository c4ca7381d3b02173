"""The search space: distributions by dotted name, and the ways to draw from them.

The same space serves Optuna (adaptive samplers, `define_by_run`) and independent draws (`Space.sample`), under the same
flat keys. This is the only file here that talks to Optuna, through the trial that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, RootModel

from search_spaces.conditions import text_of
from search_spaces.dependencies import in_order, is_active
from search_spaces.errors import refuse
from search_spaces.paper_grids import grid_of
from search_spaces.parameters import Choice, Float, Int, Option, Parameter, Value
from search_spaces.searchable import filter_searchable, searchable, type_of
from search_spaces.stages import with_stages

if TYPE_CHECKING:
    import optuna


class UniformSource(Protocol):
    """Uniform numbers in [0, 1): `random.Random`, `secrets.SystemRandom` or a numpy Generator."""

    def random(self) -> float: ...


def _fitted(name: str, parameter: Parameter) -> Parameter:
    """Return the distribution in the type of its setting: whole numbers become floats for a float setting."""
    kind = type_of(name)
    if isinstance(parameter, Choice) or (kind is int and isinstance(parameter, Int)):
        return parameter
    if kind is int:
        raise ValueError(f"takes whole numbers: write low and high without a decimal point, got {parameter.ends}")
    if kind is not float:
        raise ValueError(f"has no order to range over: write {{choices: {list(getattr(kind, '__args__', ()))}}}")
    given = {name: getattr(parameter, name) for name in parameter.model_fields_set}
    return Float.model_validate(given)


def _with_inner_spaces(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return all parameters side by side: those of an option get the condition that it is chosen."""
    flat: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        options = [choice for choice in getattr(parameter, "choices", ()) if isinstance(choice, Option)]
        own = parameter.model_copy(update={"choices": parameter.ends}) if options else parameter
        below = [(name, own)]
        for option in options:
            for inner, conditional in _with_inner_spaces(option.space).items():
                when = {**(conditional.when or {}), name: (option.value,)}
                below.append((inner, conditional.model_copy(update={"when": when})))
        for each, found in below:
            if each in flat:
                raise ValueError(f"{each} is listed twice: give it one range, with `when` for the choices that need it")
            flat[each] = found
    return flat


def _all_fitted(parameters: Mapping[str, Parameter]) -> Mapping[str, Parameter]:
    """Return every distribution fitted to its setting, after those that it depends on; one problem for each misfit."""
    if not parameters:
        raise ValueError("needs at least one setting to vary, such as method.learning_rate")
    fitted: dict[str, Parameter] = {}
    problems = []
    for name, parameter in _with_inner_spaces(parameters).items():
        try:
            fitted[searchable(name) if name not in parameters else name] = _fitted(name, parameter)
        except ValueError as error:
            problems.append(((name,), str(error)))
    if problems:
        refuse("Space", problems)
    return in_order(fitted)


class Space(
    RootModel[
        Annotated[
            Mapping[Annotated[str, AfterValidator(searchable)], Parameter],
            BeforeValidator(with_stages),
            BeforeValidator(grid_of),
            AfterValidator(_all_fitted),
        ]
    ]
):
    """What a sweep varies: a mapping from dotted names of the run configuration to distributions, or a paper's grid.

    Distributions of Optuna and domains of Ray Tune are taken as they are.

    Formal guarantees: no name in it enters the event of the accountant. So a trial drawn from it, by any rule and after
    any releases, is covered by the caps of its sweep (rule 1 of the accounting).
    """

    model_config = ConfigDict(frozen=True)

    @classmethod
    def from_optuna(cls, source: Any) -> Self:
        """Return the space that an Optuna study or trial searched, or of a mapping from names to distributions."""
        trials = getattr(source, "trials", [source])
        named = [getattr(trial, "distributions", trial) for trial in trials]
        return cls.model_validate({name: found for trial in named for name, found in trial.items()})

    def sample(self, rng: UniformSource) -> dict[str, Value]:
        """Draw once: flat dotted names → values, in the order of the space, without what is inactive.

        Formal guarantees: successive draws are independent and identically distributed if the numbers of `rng` are: a
        draw depends on one number for each active setting and nothing else. The law is that of Optuna's RandomSampler.
        """
        values: dict[str, Value] = {}
        for name, parameter in self.root.items():
            if is_active(parameter, values):
                values[name] = parameter.quantile(float(rng.random()))
        return values

    def describe(self) -> str:
        """Return one line for each setting: its name, its values, and when it is asked for."""
        width = max(map(len, self.root))
        return "\n".join(f"{name:<{width}}  {_text(parameter)}" for name, parameter in self.root.items())


_Filtered = Annotated[str, AfterValidator(filter_searchable)]


class FilterSpace(RootModel[Annotated[Mapping[_Filtered, Parameter], AfterValidator(_all_fitted)]]):
    """What a sweep under a Rényi filter also varies: names that do enter the event."""

    model_config = ConfigDict(frozen=True)


def define_by_run(parameters: Mapping[str, Parameter]) -> Callable[[optuna.Trial], None]:
    """Return a picklable function that asks an Optuna trial for settings, for Ray Tune's `OptunaSearch(space=…)`."""
    return partial(_ask, parameters)


def _ask(parameters: Mapping[str, Parameter], trial: optuna.Trial) -> None:
    for name, parameter in parameters.items():
        if not is_active(parameter, trial.params):
            continue
        match parameter:
            case Float():
                trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
            case Int():
                trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
            case Choice():
                trial.suggest_categorical(name, parameter.ends)


def _text(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        values = ", ".join("null" if value is None else str(value) for value in parameter.ends)
    else:
        step = f", step {parameter.step:g}" if parameter.step not in (None, 1) else ""
        values = f"{parameter.low:g} … {parameter.high:g}{', log' if parameter.log else ''}{step}"
    conditions = [f"{name} {text_of(wanted)}" for name, wanted in (parameter.when or {}).items()]
    return f"{values}  when {' and '.join(conditions)}" if conditions else values
