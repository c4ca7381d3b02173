"""Turns pydantic's errors into lines with the key and the fix; they show values of the configuration, never data."""

import reprlib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.config.schema import Place, models_at
from search_spaces.parameters import PARAMETER_KINDS
from search_spaces.searchable import dotted_names
from trainers.config.schedules import NUMBER, SCHEDULE_KINDS
from trainers.errors import DpzoError

_MARKS = {"[key]", *PARAMETER_KINDS, *SCHEDULE_KINDS, NUMBER}
_LONGEST_SHOWN = 60
_MOST_LINES = 20
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 2 * _LONGEST_SHOWN
_REPR.maxlevel = 3
_PLAIN = {
    **dict.fromkeys(("model_type", "dict_type", "mapping_type"), "must be a mapping of keys to values"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    "string_type": "must be a text",
    "invalid_key": "keys must be texts",
}
_OWN_MESSAGES = ("value_error", "parameter_form", "schedule_form")  # written in this project


class ConfigError(DpzoError, ValueError):
    """A configuration that cannot be used; `lines` holds one line for each problem."""

    def __init__(self, *lines: str):
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return a line 'dotted.key: what is wrong' for each problem that `model` found, in the order of the model."""
    lines = []
    problems = _without_consequences(error.errors(include_url=False))
    for problem in problems[:_MOST_LINES]:
        place = ".".join(str(key)[:_LONGEST_SHOWN] for key in problem["loc"] if key not in _MARKS)
        lines.append(f"{place}: {_message(problem, model)}" if place else _message(problem, model))
    more = len(problems) - _MOST_LINES
    return list(dict.fromkeys(lines)) + ([f"and {more} more problems"] if more > 0 else [])


def require_some_known(mapping: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Refuse, with a ConfigError, a mapping without any key of `model`: its keys may be a data set's, and private."""
    if mapping and not any(key in model.model_fields or _suggestion(key, model.model_fields) for key in mapping):
        known = ", ".join(model.model_fields)
        raise ConfigError(f"this is no configuration: none of its {len(mapping)} keys is known. Known keys: {known}")


def _without_consequences(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Drop problems below a key that is itself refused."""
    refused = {problem["loc"][:-1] for problem in problems if problem["loc"][-1:] == ("[key]",)}
    return [
        problem
        for problem in problems
        if problem["loc"][-1:] == ("[key]",)
        or refused.isdisjoint(problem["loc"][:end] for end in range(1, len(problem["loc"]) + 1))
    ]


def reasons(error: ValueError) -> list[str]:
    """Return what is wrong, without the keys."""
    if not isinstance(error, ValidationError):
        return [str(error)]
    return list(dict.fromkeys(_reason(problem) for problem in error.errors(include_url=False)))


def _message(problem: ErrorDetails, model: type[BaseModel]) -> str:
    place = problem["loc"]
    if problem["type"] == "missing":
        return f"missing. {_describe(model, place)}".rstrip()
    if problem["type"] == "extra_forbidden":
        return _unknown_key(model, place)
    reason = _reason(problem)
    if problem["type"] in _OWN_MESSAGES:
        return reason
    hint = _suggestion(problem["input"], _alternatives(problem)) or _quoting_hint(problem)
    return f"{reason}, got {shown(problem['input'])}{hint}"


def _reason(problem: ErrorDetails) -> str:
    """Return pydantic's sentence without its subject: 'must be greater than 0'."""
    plain = _PLAIN.get(problem["type"])
    if plain:
        return plain
    text = problem["msg"].removeprefix("Value error, ")
    for subject in ("Input", "String", "Tuple", "List"):
        if text.startswith(f"{subject} should "):
            text = "must " + text.removeprefix(f"{subject} should ")
    return text


def _unknown_key(model: type[BaseModel], place: Place) -> str:
    """Suggest a similar key of the same section, or the section that has this key."""
    key = str(place[-1])
    known = [name for owner in models_at(model, place[:-1]) for name in owner.model_fields]
    is_section = all(isinstance(part, str) for part in place) and len(place) <= 2
    elsewhere = [name for name in dotted_names(model) if is_section and name.rpartition(".")[2] == key]
    hint = _suggestion(key, known) or _suggestion(key, elsewhere[:1], cutoff=0.0) or "."
    return f"unknown key{hint} Known keys: {', '.join(known)}"


def _describe(model: type[BaseModel], place: Place) -> str:
    """Describe a missing key: the field's description, or the section's purpose and required keys."""
    key = str(place[-1])
    fields = [owner.model_fields[key] for owner in models_at(model, place[:-1]) if key in owner.model_fields]
    described = [field.description for field in fields if field.description]
    if described:
        return described[0]
    sections = models_at(model, place)
    if not sections:
        return ""
    required = [name for name, field in sections[0].model_fields.items() if field.is_required()]
    return f"{(sections[0].__doc__ or '').splitlines()[0]} Needs {', '.join(required)}."


def _alternatives(problem: ErrorDetails) -> list[str]:
    """Return the values that a closed choice allows, unquoted."""
    if problem["type"] != "literal_error":
        return []
    return problem.get("ctx", {}).get("expected", "").replace(" or ", ", ").replace("'", "").split(", ")


def _suggestion(given: Any, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return '. Did you mean …?', or nothing."""
    word = str(given) if isinstance(given, str | int | float) else ""
    matches = get_close_matches(word[:_LONGEST_SHOWN], list(known), n=1, cutoff=cutoff)
    return f". Did you mean {matches[0]!r}?" if matches else ""


def _quoting_hint(problem: ErrorDetails) -> str:
    """Say how to write a number or a boolean where a text is expected."""
    given = problem["input"]
    if problem["type"] == "string_type" and isinstance(given, bool | int | float):
        return f". In quotes it is a text: {(str(given).lower() if isinstance(given, bool) else str(given))!r}"
    return ""


def shown(value: Any) -> str:
    """Return a short text of a value, in time that does not grow with the value."""
    text = _REPR.repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
