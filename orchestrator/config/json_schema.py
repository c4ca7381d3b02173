"""The JSON schema of a configuration file, for editors: they complete keys, show units, and mark what is wrong.

A file may leave out what a task's name, `data.shots` or a preset fills in, and `dpzo train` needs no `search`. So the
schema asks for less than the models do: it accepts each file that they accept.
"""

import json
from typing import Any

from orchestrator.config.models import SweepConfig

_FILLED_IN = {None: ("data", "search"), "DataConfig": ("train", "num_examples"), "TaskConfig": ("template",)}
SCHEMA_FILE = "dpzo-schema.json"
EDITOR_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
"""The first line of a configuration beside its schema; editors with YAML support read it."""


def configuration_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a file for `dpzo plan`, `train` and `sweep`."""
    schema = SweepConfig.model_json_schema()
    for name, keys in _FILLED_IN.items():
        model = schema if name is None else schema["$defs"][name]
        model["required"] = [key for key in model["required"] if key not in keys]
    spaces = schema["$defs"]["Space"]
    schema["$defs"]["Space"] = {"anyOf": [spaces, {"type": "string", "description": "Name of a paper's grid."}]}
    schema["$defs"]["TaskConfig"] = _with_numbers_as_texts(schema["$defs"]["TaskConfig"])
    schema = _with_any_of(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Configuration of dpzo",
    }


def schema_json() -> str:
    """Return the schema as text."""
    return json.dumps(configuration_schema(), indent=2, ensure_ascii=False) + "\n"


def _with_any_of(part: Any) -> Any:
    """Return a schema whose alternatives may overlap: 1 to 30 is a range of whole numbers and of numbers."""
    if isinstance(part, list):
        return [_with_any_of(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {("anyOf" if key == "oneOf" else key): _with_any_of(value) for key, value in part.items()}


def _with_numbers_as_texts(part: Any) -> Any:
    """Return the schema of a section whose texts may be written without quotes: labels 0 and 1, or true and false."""
    if isinstance(part, list):
        return [_with_numbers_as_texts(item) for item in part]
    if not isinstance(part, dict):
        return part
    texts = {"type": ["string", "number", "boolean"]} if part.get("type") == "string" else {}
    return {key: _with_numbers_as_texts(value) for key, value in part.items()} | texts
