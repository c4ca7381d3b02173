"""Reads configuration files and `key=value` overrides, and makes configurations of them.

Files are YAML with the scalars of YAML 1.2: 1e-3 is a number; yes and no are texts, because labels are often called so.
A key that occurs twice is an error. A file that ends in .json is read as JSON.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.composer import ComposerError

from orchestrator.config.errors import ConfigError, explain
from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.config.schema import takes_text
from search_spaces.searchable import is_searchable
from trainers.config import RunConfig

_SPACE = ["search", "space"]
_NO_TEXT = ("", "~", "null", "Null", "NULL")


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of the 1.2 core schema; refuses a key that occurs twice in one mapping."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML fills it below, for this class alone

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                first = seen[key.tag, key.value] + 1
                raise ComposerError(
                    None, None, f"key {key.value!r} occurs twice, first in line {first}", key.start_mark
                )
            seen[key.tag, key.value] = key.start_mark.line
        return node


_TAG = "tag:yaml.org,2002:"
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
for _name, _pattern, _first in (  # the first pattern that fits wins; _first: what it may begin with
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value))


def read(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping in a file, or a copy of the given mapping.

    ConfigError if there is no such file, or it is not text, not YAML (with the line), or not a mapping.
    """
    if isinstance(source, Mapping):
        return _with_on(copy.deepcopy(dict(source)))
    try:
        text = Path(source).read_text(encoding="utf-8")
        is_json = Path(source).suffix == ".json"
        content = json.loads(text, object_pairs_hook=_distinct) if is_json else yaml.load(text, _Loader)
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {_yaml_problem(error)}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise ConfigError(f"{source}: {error}") from error
    if not isinstance(content, dict):
        kind = "nothing" if content is None else type(content).__name__
        raise ConfigError(f"{source}: expected a mapping of keys to values, such as 'name: my-run', got {kind}")
    return content


def _with_on(config: dict[str, Any]) -> dict[str, Any]:
    """Name the key `on` of the score, which YAML 1.1 (a program's yaml.safe_load) reads as True."""
    score = config.get("score")
    if isinstance(score, dict):
        config["score"] = {"on" if key is True else key: value for key, value in score.items()}
    return config


def override(config: Mapping[str, Any], overrides: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """Return a copy of `config` with every 'dotted.key=value' applied, in order.

    A value is YAML: 'method.num_steps=100', 'task.labels=[no, yes]'. Where `model` takes a text, everything after the
    equals sign is the text, with blanks and braces: 'task.template={sentence} It was'. Two exceptions: a value in
    quotes is YAML, and null or nothing is no text ('data.validation=null'). A key below search.space is the dotted name
    of a setting, followed by a key of its distribution or not: 'search.space.method.smoothing.low=1e-4'. ConfigError
    has a line for each override that cannot be applied.
    """
    result: dict[str, Any] = copy.deepcopy(dict(config))
    problems = []
    for text in overrides:
        try:
            place, value = _parse_override(text, model)
            _put(result, place, value)
        except ValueError as error:
            problems.append(f"{text}: {error}")
    if problems:
        raise ConfigError(*problems)
    return result


def _parse_override(text: str, model: type[BaseModel]) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    place = key.strip().split(".")
    if not equals or not all(place):
        raise ValueError("expected key=value with a dotted key, such as method.num_steps=100")
    if place[:2] == _SPACE and len(place) > 3:
        ends = [end for end in range(len(place), 4, -1) if is_searchable(".".join(place[2:end]))]
        end = ends[0] if ends else 4
        place = [*_SPACE, ".".join(place[2:end]), *place[end:]]
    bare_text = takes_text(model, place) and value.strip() not in _NO_TEXT and not value.strip().startswith(("'", '"'))
    if bare_text:
        return place, value
    try:
        return place, yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"the value is not YAML: {_yaml_problem(error)}") from error


def _put(config: dict[str, Any], place: Sequence[str], value: Any) -> None:
    for depth, key in enumerate(place[:-1], start=1):
        if config.get(key) is None:
            config[key] = {}
        config = config[key]
        if not isinstance(config, dict):
            raise ValueError(f"{'.'.join(place[:depth])} is {config!r}: it is not a mapping")
    config[place[-1]] = value


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', error)}"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; refuse a key that occurs twice."""
    keys = [key for key, _ in pairs]
    twice = [key for i, key in enumerate(keys) if key in keys[:i]]
    if twice:
        raise ValueError(f"key {twice[0]!r} occurs twice")
    return dict(pairs)


Config = TypeVar("Config", bound=RunConfig)


def load_run(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> LedgeredConfig:
    """Load the configuration of one run from a YAML or JSON file or a mapping, with 'key=value' overrides.

    A `search` section is ignored, so that one file serves a sweep and a single run; an override of it is refused.
    ConfigError has one line for each problem.
    """
    of_search = [text for text in overrides if text.partition("=")[0].strip().split(".")[0] == "search"]
    if of_search:
        raise ConfigError(*(f"{text}: one run has no search; leave it out, or start a sweep" for text in of_search))
    mapping = read(source)
    mapping.pop("search", None)
    return _validated(LedgeredConfig, override(mapping, overrides, LedgeredConfig))


def load_sweep(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> SweepConfig:
    """Load the configuration of a sweep from what `load_run` takes; ConfigError has one line for each problem."""
    return _validated(SweepConfig, override(read(source), overrides, SweepConfig))


def resolved_json(config: RunConfig) -> str:
    """Return every setting, defaults included, as JSON; loading it gives an equal configuration."""
    return config.model_dump_json(indent=2) + "\n"


def _validated(model: type[Config], mapping: Mapping[str, Any]) -> Config:
    try:
        return model.model_validate(mapping)
    except ValidationError as error:
        raise ConfigError(*explain(error, model)) from error
