"""Settings as keywords of a Python call: `Sweep(data="notes.jsonl", epsilon=3, num_trials=8)`.

A keyword is a section (`data`, `method`, …) or a key that only one section has (`epsilon`, `num_trials`, `space`). A
section is a mapping, whose keys are set one by one, or the value of its main key: `method="dp-zo"` is `method.name`.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from orchestrator.config.errors import ConfigError
from orchestrator.config.models import SweepConfig

MAIN_KEYS = {"data": "train", "task": "name", "model": "path", "method": "name", "budget": "name"}


def overrides_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords as a mapping from dotted keys to values.

    Raises:
        ConfigError: one line for each keyword that is unknown, or that several sections have.
    """
    found, problems = {}, []
    for keyword, value in settings.items():
        try:
            found |= dict(_places(keyword, value))
        except ValueError as error:
            problems.append(f"{keyword}: {error}")
    if problems:
        raise ConfigError(*problems)
    return found


def _places(keyword: str, value: Any) -> Iterator[tuple[str, Any]]:
    if keyword not in SweepConfig.model_fields:
        yield _dotted(keyword), value
    elif not _is_section(keyword):
        yield keyword, value
    elif isinstance(value, Mapping):
        yield from ((f"{keyword}.{key}", below) for key, below in value.items())
    elif isinstance(value, BaseModel):
        yield from ((f"{keyword}.{key}", getattr(value, key)) for key in value.model_fields_set)
    elif keyword in MAIN_KEYS:
        yield f"{keyword}.{MAIN_KEYS[keyword]}", value
    else:
        raise ValueError(f"is a section: give a mapping of its keys, got {type(value).__name__}")


def _dotted(keyword: str) -> str:
    owners = [name for name in _keys() if name.rpartition(".")[2] == keyword]
    if len(owners) == 1:
        return owners[0]
    if owners:
        way = f"{owners[0].partition('.')[0]}={{{keyword!r}: …}}"
        raise ValueError(f"may be {' or '.join(owners)}: give it in its section, such as {way}")
    known = {**{name.rpartition(".")[2]: name for name in _keys()}, **{name: name for name in SweepConfig.model_fields}}
    matches = get_close_matches(keyword, known, n=1)
    hint = f" Did you mean {matches[0]!r} ({known[matches[0]]})?" if matches else ""
    raise ValueError(f"unknown setting.{hint} Sections: {', '.join(filter(_is_section, SweepConfig.model_fields))}")


def _keys() -> list[str]:
    """Return the dotted keys of all sections; not those of sections inside."""
    return [
        f"{section}.{key}"
        for section in filter(_is_section, SweepConfig.model_fields)
        for key in _model(section).model_fields
    ]


def _is_section(name: str) -> bool:
    kind = SweepConfig.model_fields[name].annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _model(section: str) -> type[BaseModel]:
    kind = SweepConfig.model_fields[section].annotation
    assert isinstance(kind, type)
    return kind
