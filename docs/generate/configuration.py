"""The reference of the configuration, from the models that check it: every key, its type and range, its default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from orchestrator.config.json_schema import configuration_schema
from search_spaces.searchable import FILTERED, SEARCHABLE

_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
_WORDS = {
    "number": "number",
    "integer": "whole number",
    "string": "text",
    "boolean": "true or false",
    "object": "mapping",
}
_UNITS = {"_s": "seconds", "_bytes": "bytes", "_gb": "GB", "_tokens": "tokens"}


class Model(NamedTuple):
    """A model of the configuration: its anchor and heading, and its JSON schema."""

    place: str
    schema: dict[str, Any]


def configuration_reference() -> str:
    """Return a section of Markdown for each model of the configuration."""
    schema = configuration_schema()
    models = dict(_models(schema))
    places = {name: model.place for name, model in models.items()}
    texts = {model.place: model.schema.get("description", "").partition(".")[0] + "." for model in models.values()}
    return "\n\n".join(_section(model, places, texts) for model in models.values())


def _models(schema: dict[str, Any]) -> Iterator[tuple[str, Model]]:
    """Yield the models by name, each once, at the first place that takes it; outer ones first."""
    waiting, seen = [("", Model("top level", schema))], {""}
    while waiting:
        name, model = waiting.pop(0)
        yield name, model
        prefix = f"{model.place}." if name in _sections(schema) else ""
        below = []
        inside = model.schema.get("properties") or {"values": model.schema.get("additionalProperties")}
        for key, value in inside.items():
            found = [ref for ref in dict.fromkeys(_references(value)) if ref not in seen]
            for ref in found:
                alone = len(found) == 1 and (prefix or not name)
                below.append((ref, Model(f"{prefix}{key}" if alone else ref, _opened(schema["$defs"][ref]))))
            seen.update(found)
        waiting = [*below, *waiting] if name else below


def _sections(schema: dict[str, Any]) -> set[str]:
    """Return the names of the models that stand at one place alone: sections, and the sections inside them."""
    return {name for name in schema["$defs"] if name.endswith(("Config", "SecretNumber", "SweepTokens"))}


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the mapping among the alternatives of a schema, where it has some."""
    return next((part for part in schema.get("anyOf", []) if part.get("type") == "object"), schema)


def _references(part: Any) -> Iterator[str]:
    """Yield the names of the models that a schema mentions."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _section(model: Model, places: dict[str, str], texts: dict[str, str]) -> str:
    """Return the section of a model; `texts` has the first sentence of each section, for keys that open one."""
    text = model.schema.get("description", "").partition("\n\nFormal guarantees")[0]
    lines = [f"## {model.place} {{ #{_anchor(model.place)} }}", "", text, ""]
    if "properties" in model.schema:
        required = model.schema.get("required", ())
        lines += ["| key | takes | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{key}`{_search_mark(model.place, key)} | {_cell(_type(value, places))} | "
            f"{_cell(_default(value, key in required))} | {_cell(_meaning(key, value) or texts.get(key, ''))} |"
            for key, value in model.schema["properties"].items()
        ]
    elif "additionalProperties" in model.schema:
        lines.append(f"A mapping from dotted keys to: {_type(model.schema['additionalProperties'], places)}.")
    return "\n".join(lines)


def _anchor(place: str) -> str:
    return place.replace(".", "-").replace(" ", "-").lower()


def _search_mark(place: str, key: str) -> str:
    """Mark what a sweep may vary: `search.space` ◆, `search.filter.space` ◇."""
    name = f"{place}.{key}"
    return " ◆" if name in SEARCHABLE else " ◇" if name in FILTERED else ""


def _meaning(key: str, value: dict[str, Any]) -> str:
    text = value.get("description", "Names this kind." if "const" in value else "")
    unit = next((unit for end, unit in _UNITS.items() if key.endswith(end)), None)
    return text if not text or unit is None or unit.lower() in text.lower() else f"{text} In {unit}."


def _type(part: dict[str, Any], places: dict[str, str]) -> str:
    """Return in words what a schema takes."""
    if "$ref" in part:
        place = places[part["$ref"].rpartition("/")[2]]
        return f"[{place}](#{_anchor(place)})"
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_type(option, places) for option in part["anyOf"]))
    kind = part.get("type")
    if isinstance(kind, list):
        return " or ".join(_WORDS[name] for name in kind)
    if kind == "null":
        return "nothing"
    if kind == "array":
        items = part.get("items") or {}
        inner = _type(items, places) if items else "any value"
        return f"list: {inner}"
    if kind == "object" and isinstance(part.get("additionalProperties"), dict):
        return f"mapping to {_type(part['additionalProperties'], places)}"
    bounds = [f"{sign} {part[bound]:,}" for bound, sign in _BOUNDS.items() if bound in part]
    return " ".join([_WORDS.get(str(kind), "any value"), ", ".join(bounds)]).strip()


def _default(value: dict[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    if "default" not in value:
        return "–"
    default = value["default"]
    return "–" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    """Return text for a cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
