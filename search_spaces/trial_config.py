"""The configuration of one trial: the values of a draw in place of the configuration's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from search_spaces.dependencies import is_active, values_before
from search_spaces.parameters import Parameter, Value
from search_spaces.searchable import FILTERED, METHOD_CHOICES, searchable, setting_of, type_of
from search_spaces.space import FilterSpace, Space
from search_spaces.stages import STAGES, settings_of_stages
from trainers.config import RunConfig
from trainers.config.method import as_method

_KIND = ".kind"


def apply(config: RunConfig, values: Mapping[str, Any], *, filtered: bool = False) -> RunConfig:
    """Return the run configuration of one trial: `config` with flat dotted `values` in place of its own.

    Other sections of a sweep's configuration are left out. Where a Rényi filter counts the trial (`filtered`), values
    may also enter the event. ValueError for a name that a sweep may not vary, or a value that the sections refuse.
    """
    sections = {name: getattr(config, name) for name in RunConfig.model_fields}
    changed: dict[str, dict[str, Any]] = {}
    known = {name: _known(name, value, filtered=filtered) for name, value in values.items()}
    chosen = {name.removeprefix("method."): known.pop(name) for name in METHOD_CHOICES if name in known}
    if chosen:
        changed["method"] = _of_method(config, chosen)
    staged = settings_of_stages(known, known.get("method.num_steps", config.method.num_steps))
    for name, value in _whole_schedules(staged).items():
        section, *place = name.split(".")
        try:
            _put(changed.setdefault(section, sections[section].model_dump(mode="json")), place, value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return RunConfig.model_validate({**sections, **changed})


def _of_method(config: RunConfig, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `method` section with another method or preset, into which the trial's own values are put."""
    if config.privacy.noise == "laplace":
        raise ValueError("the law of a token depends on K under Laplace noise: fix the method, or use Gaussian noise")
    return as_method(config.method, **chosen).model_dump(mode="json")


def refused_ends(space: Space | FilterSpace, config: RunConfig) -> Iterator[tuple[str, Value, ValueError]]:
    """Yield the ends of ranges, and the choices, that a run configuration refuses, each tried in `config`.

    Beside it stand values that make it active, the rest of a schedule that is searched as a whole, and each method and
    preset that the space has. A setting
    is valid between two valid ends, so no trial of a space without refused ends fails for its values.
    """
    for name, parameter in space.root.items():
        for end in parameter.ends:
            try:
                for values in _with_methods(space.root, name, _with_company(space.root, name, end)):
                    apply(config, values, filtered=isinstance(space, FilterSpace))
            except ValueError as error:  # pydantic's, or nothing stands at that place
                yield name, end, error


def _with_company(parameters: Mapping[str, Parameter], name: str, end: Value) -> dict[str, Any]:
    """Return a value with those that it cannot be tried without."""
    values = {**values_before(parameters, name), name: end}
    schedule = setting_of(name)
    if schedule == STAGES or f"{schedule}{_KIND}" in parameters:
        for other, parameter in parameters.items():
            if other.startswith(f"{schedule}.") and is_active(parameter, values):
                values.setdefault(other, parameter.ends[0])
    return values


def _with_methods(
    parameters: Mapping[str, Parameter], name: str, values: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """Yield values beside each method and preset of the space, as far as these leave the parameter active."""
    searched = [key for key in METHOD_CHOICES if key in parameters and key != name]
    for ends in product(*(parameters[key].ends for key in searched)):
        beside = {**values, **dict(zip(searched, ends, strict=True))}
        if is_active(parameters[name], beside):
            yield beside


def _known(name: str, value: Any, *, filtered: bool) -> Any:
    """Return the value of a name that may vary; a whole schedule is chosen by its JSON text."""
    try:
        if not (filtered and name in FILTERED):
            searchable(name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    is_schedule = isinstance(value, str) and value.startswith("{") and type_of(name) is float
    return json.loads(value) if is_schedule else value


def _whole_schedules(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values, outer ones first; a schedule whose kind is searched consists of searched values alone."""
    whole = {name: values[name] for name in sorted(values, key=lambda name: name.count("."))}
    for name in [name for name in whole if name.endswith(_KIND)]:
        schedule = name.removesuffix(_KIND)
        inside = [other for other in whole if other.startswith(f"{schedule}.")]
        given = {other.removeprefix(f"{schedule}."): whole.pop(other) for other in inside}
        listed = sorted((key for key in given if key.startswith("values.")), key=lambda key: int(key.split(".")[1]))
        if listed:
            given["values"] = [given.pop(key) for key in listed]
        whole[schedule] = given
    return whole


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
