"""How the parameters of a space depend on each other by their conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces.conditions import Between, Condition, holds
from search_spaces.errors import Problem, refuse
from search_spaces.parameters import Choice, Float, Int, Parameter, Value


def in_order(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return parameters after those that they depend on, otherwise in the given order.

    Refused are conditions on a name that is not searched or a value that it cannot take, and circles.
    """
    problems = [problem for name in parameters for problem in _unusable(parameters, name)]
    if problems:
        refuse("Space", problems)
    ordered: dict[str, Parameter] = {}
    waiting = dict(parameters)
    while waiting:
        ready = next((name for name, found in waiting.items() if (found.when or {}).keys() <= ordered.keys()), None)
        if ready is None:
            circle = " and ".join(waiting)
            refuse("Space", [((next(iter(waiting)),), f"the conditions of {circle} go in a circle: drop one `when`")])
        ordered[ready] = waiting.pop(ready)
    return ordered


def is_active(parameter: Parameter, values: Mapping[str, Any]) -> bool:
    """Return whether the values of earlier parameters ask for this one."""
    return all(name in values and holds(wanted, values[name]) for name, wanted in (parameter.when or {}).items())


def values_before(parameters: Mapping[str, Parameter], name: str) -> dict[str, Value]:
    """Return values of other parameters that make one active; nothing for one without conditions."""
    found: dict[str, Value] = {}
    for other, condition in (parameters[name].when or {}).items():
        found |= values_before(parameters, other) | {other: next(_values(parameters[other], condition))}
    return found


def _unusable(parameters: Mapping[str, Parameter], name: str) -> Iterator[Problem]:
    for other, condition in (parameters[name].when or {}).items():
        place = (name, "when", other)
        if other not in parameters:
            yield place, f"is not searched. `when` names another setting of this space: {', '.join(parameters)}"
            continue
        values = () if isinstance(condition, Between) else condition
        strange = [value for value in values if not can_be(parameters[other], value)]
        if strange:
            yield place, f"never is {strange[0]!r}: it is searched over {words_of(parameters[other])}"
        elif next(_values(parameters[other], condition), None) is None and None not in values:
            yield place, f"is never in these bounds: it is searched over {words_of(parameters[other])}"


def can_be(parameter: Parameter, value: Any) -> bool:
    """Return whether a parameter can take a value."""
    if isinstance(parameter, Choice):
        return value in parameter.ends
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    on_grid = not isinstance(parameter, Int) or (is_number and (value - parameter.low) % parameter.step == 0)
    return is_number and on_grid and parameter.low <= value <= parameter.high


def _values(parameter: Parameter, condition: Condition) -> Iterator[Value]:
    """Yield values of a parameter that satisfy a condition: its own ends first."""
    if not isinstance(condition, Between):
        yield from (value for value in condition if can_be(parameter, value))
        return
    candidates: list[Value] = list(parameter.ends)
    if not isinstance(parameter, Choice):
        low = parameter.low if condition.above is None else max(parameter.low, condition.above)
        high = parameter.high if condition.below is None else min(parameter.high, condition.below)
        middle = (low + high) / 2
        steps = (middle - parameter.low) / (parameter.step or 1)
        between = middle if isinstance(parameter, Float) else parameter.low + parameter.step * round(steps)
        candidates.append(min(max(between, parameter.low), parameter.high))
    yield from (value for value in candidates if holds(condition, value))


def words_of(parameter: Parameter) -> str:
    """Return the values of a parameter in words."""
    if isinstance(parameter, Choice):
        return ", ".join(map(str, parameter.ends))
    return f"{parameter.low:g} to {parameter.high:g}"
