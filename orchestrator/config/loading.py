"""Reads configuration files and `key=value` overrides, and makes configurations of them.

Files are YAML (yaml_loader.py); a file that ends in .json is read as JSON. A key that occurs twice is an error.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from orchestrator.config.errors import ConfigError, explain, require_some_known, shown
from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.config.schema import takes_text
from orchestrator.config.yaml_loader import load_yaml, yaml_problem
from search_spaces.searchable import is_searchable
from trainers.config import RunConfig
from trainers.data.table import require_shallow

Overrides = Sequence[str] | Mapping[str, Any]
"""Settings in place of a configuration's: texts "dotted.key=value", or a mapping from dotted keys to values."""
_SPACE = ["search", "space"]
_ROWS = (".jsonl", ".csv", ".tsv", ".parquet")
_MAX_BYTES = 10**6
_LONGEST_SHOWN = 200  # of an override, in an error
_NO_TEXT = ("", "~", "null", "Null", "NULL")


def read(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping in a file, or a copy of the given mapping.

    ConfigError if there is no such file, or it is not text, not YAML (with the line), or not a mapping.
    """
    if isinstance(source, Mapping):
        return _with_on(copy.deepcopy(dict(source)))
    try:
        content = _content_of(Path(source))
        require_shallow(content, "the file")
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {yaml_problem(error)}") from None
    except RecursionError:
        raise ConfigError(f"{source}: lists or mappings lie too deep inside each other") from None
    except ValueError as error:  # not UTF-8, or not JSON
        raise ConfigError(f"{source}: {error}") from None
    if not isinstance(content, dict):
        kind = "nothing" if content is None else type(content).__name__
        raise ConfigError(f"{source}: expected a mapping of keys to values, such as 'name: my-run', got {kind}")
    return content


def _content_of(path: Path) -> Any:
    if path.suffix in _ROWS:
        raise ValueError(
            "is a file of rows; a configuration in YAML or JSON is expected, whose data.train names the rows"
        )
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"is larger than {_MAX_BYTES // 10**6} MB, which no configuration is")
    text = content.decode("utf-8")
    return json.loads(text, object_pairs_hook=_distinct) if path.suffix == ".json" else load_yaml(text)


def _with_on(config: dict[str, Any]) -> dict[str, Any]:
    """Name the key `on` of the score, which YAML 1.1 (a program's yaml.safe_load) reads as True."""
    score = config.get("score")
    if isinstance(score, dict):
        config["score"] = {"on" if key is True else key: value for key, value in score.items()}
    return config


def override(config: Mapping[str, Any], overrides: Overrides, model: type[BaseModel]) -> dict[str, Any]:
    """Return a copy of `config` with every 'dotted.key=value' applied, in order, or every item of a mapping.

    A value is YAML: 'method.num_steps=100', 'task.labels=[no, yes]'. Where `model` takes a text, everything after the
    equals sign is the text, with blanks and braces: 'task.template={sentence} It was'. Two exceptions: a value in
    quotes is YAML, and null or nothing is no text ('data.validation=null'). A key below search.space is the dotted name
    of a setting, followed by a key of its distribution or not: 'search.space.method.smoothing.low=1e-4'. ConfigError
    has a line for each override that cannot be applied.
    """
    if isinstance(overrides, str):
        raise ConfigError(
            f"overrides: expected a list of texts 'key=value', or a mapping; got the text {shown(overrides)}"
        )
    result: dict[str, Any] = copy.deepcopy(dict(config))
    problems = []
    for given in overrides.items() if isinstance(overrides, Mapping) else overrides:
        try:
            place, value = _parse_override(given, model) if isinstance(given, str) else (_place(given[0]), given[1])
            _put(result, place, value)
        except ValueError as error:
            shown_key = given if isinstance(given, str) else str(given[0])
            problems.append(f"{shown_key[:_LONGEST_SHOWN]}: {error}")
    if problems:
        raise ConfigError(*problems)
    return result


def _parse_override(text: str, model: type[BaseModel]) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError("expected key=value with a dotted key, such as method.num_steps=100")
    place = _place(key.strip())
    bare_text = takes_text(model, place) and value.strip() not in _NO_TEXT and not value.strip().startswith(("'", '"'))
    if bare_text:
        return place, value
    try:
        return place, load_yaml(value)
    except yaml.YAMLError as error:
        raise ValueError(f"the value is not YAML: {yaml_problem(error)}") from None


def _place(key: str) -> list[str]:
    """Return the keys that a dotted key goes through; a dotted name below search.space is one key."""
    place = key.split(".") if isinstance(key, str) else []
    if not all(place) or not place:
        raise ValueError("expected a dotted key, such as method.num_steps")
    if place[:2] == _SPACE and len(place) > 3:
        ends = [end for end in range(len(place), 4, -1) if is_searchable(".".join(place[2:end]))]
        end = ends[0] if ends else 4
        return [*_SPACE, ".".join(place[2:end]), *place[end:]]
    return place


def _put(config: dict[str, Any], place: Sequence[str], value: Any) -> None:
    for depth, key in enumerate(place[:-1], start=1):
        if config.get(key) is None:
            config[key] = {}
        config = config[key]
        if not isinstance(config, dict):
            raise ValueError(f"{'.'.join(place[:depth])} is {shown(config)}: it is not a mapping")
    config[place[-1]] = value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; refuse a key that occurs twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {shown(key)} occurs twice")
        found[key] = value
    return found


Config = TypeVar("Config", bound=RunConfig)


def load_run(source: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> LedgeredConfig:
    """Load the configuration of one run from a YAML or JSON file or a mapping, with 'key=value' overrides.

    A `search` section is ignored, so that one file serves a sweep and a single run; an override of it is refused.
    ConfigError has one line for each problem.
    """
    keys = {text: text.partition("=")[0].strip() for text in overrides}
    of_search = [text for text, key in keys.items() if key.split(".")[0] == "search"]
    if of_search:
        raise ConfigError(*(f"{text}: one run has no search; leave it out, or start a sweep" for text in of_search))
    mapping = read(source)
    mapping.pop("search", None)
    return _validated(LedgeredConfig, override(mapping, overrides, LedgeredConfig))


def load_sweep(source: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> SweepConfig:
    """Load the configuration of a sweep from what `load_run` takes; ConfigError has one line for each problem."""
    return _validated(SweepConfig, override(read(source), overrides, SweepConfig))


def resolved_json(config: RunConfig) -> str:
    """Return every setting, defaults included, as JSON; loading it gives an equal configuration."""
    return config.model_dump_json(indent=2) + "\n"


def _validated(model: type[Config], mapping: Mapping[str, Any]) -> Config:
    require_some_known(mapping, model)
    try:
        config = model.model_validate(mapping)
        resolved_json(config)
    except ValidationError as error:
        raise ConfigError(*explain(error, model)) from None
    except PydanticSerializationError:
        raise ConfigError("a text holds half of a surrogate pair, or the name of a file that is not UTF-8") from None
    return config
