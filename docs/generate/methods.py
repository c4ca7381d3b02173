"""The frame of a method's page, from its row in the catalogue: paper, settings, presets, grids, where its code lies."""

from __future__ import annotations

import json
import re
from pathlib import Path

from trainers.config.method import MethodConfig
from trainers.methods.catalogue import METHODS
from trainers.methods.spec import EVERY_METHOD, MethodSpec, Preset

_NOT_OF_THE_PAPER = {"name", "preset", "seed"}


def method_frame(name: str) -> str:
    """Return the facts of a method as Markdown. Unknown names raise KeyError."""
    spec, file = METHODS[name], f"{name.replace('-', '_')}"
    parts = [
        _facts(name, spec, file),
        f"## Settings\n\n{_settings(spec)}",
        *([f"## Presets\n\n{_presets(name, spec)}"] if spec.presets else []),
        *([f"## Grids\n\n{_grids(name, spec)}"] if spec.grids else []),
    ]
    return "\n\n".join(parts)


def methods_table() -> str:
    """Return the catalogue, a row a method."""
    rows = [
        f"| [`{name}`]({name}.md) | {spec.title} | {_order(spec)} | {_directions(spec)} | {_privacy(spec)} | "
        f"{_source(spec)} |"
        for name, spec in METHODS.items()
    ]
    return "\n".join(["| `method.name` | method | sees | K | private | source |", "|---|---|---|---|---|---|", *rows])


def _facts(name: str, spec: MethodSpec, file: str) -> str:
    example = Path("examples") / f"{file}.yaml"
    assert Path("trainers/methods", f"{file}.py").is_file(), f"{name}: its code is not in trainers/methods/{file}.py"
    rows = {
        "Paper": _source(spec),
        "A step sees": _order(spec),
        "Directions K": _directions(spec),
        "Private": _privacy(spec),
        "Code": f"`trainers/methods/{file}.py`",
        "Example": f"[{example}](../../{example})" if example.is_file() else "–",
    }
    return "\n".join(
        [f"| `method.name` | `{name}` |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows.items())]
    )


def _source(spec: MethodSpec) -> str:
    """Return the paper, with a link where it is on arXiv."""
    return re.sub(r"arXiv:([\d.]+\d)", r"[arXiv:\1](https://arxiv.org/abs/\1)", spec.source)


def _order(spec: MethodSpec) -> str:
    return "gradients" if spec.order == "first" else "differences of losses"


def _directions(spec: MethodSpec) -> str:
    low, high = spec.num_directions
    if spec.order == "first":
        return "–"
    return str(low) if low == high else f"{low} to {high:,}"


def _privacy(spec: MethodSpec) -> str:
    return "yes" if spec.private else "no: ε = ∞"


def _settings(spec: MethodSpec) -> str:
    fields = MethodConfig.model_fields
    taken = [key for key in fields if key in (EVERY_METHOD | spec.settings) - _NOT_OF_THE_PAPER]
    rows = []
    for key in taken:
        default = spec.defaults.get(key, fields[key].get_default(call_default_factory=True))
        shown = "–" if default is None else f"`{json.dumps(default)}`"
        own = " (the method's own)" if key in spec.defaults else ""
        rows.append(f"| `method.{key}` | {shown}{own} | {fields[key].description} |")
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _presets(name: str, spec: MethodSpec) -> str:
    rows = [f"| `{name}/{model}` | {_preset(preset)} |" for model, preset in spec.presets.items()]
    text = "`method.preset` takes a paper's settings; keys beside it win."
    return "\n".join([text, "", "| preset | published with | settings |", "|---|---|---|", *rows])


def _preset(preset: Preset) -> str:
    settings = ", ".join(f"{key} {json.dumps(value)}" for key, value in preset.settings.items())
    return f"{preset.with_batch} | {settings}"


def _grids(name: str, spec: MethodSpec) -> str:
    rows = [
        f"| `{name}/{model}` | {'; '.join(f'{key} {_values(space)}' for key, space in grid.items())} |"
        for model, grid in spec.grids.items()
    ]
    return "\n".join(["`search.space` takes a grid by its name.", "", "| grid | varies |", "|---|---|", *rows])


def _values(space: dict[str, list[object]]) -> str:
    return ", ".join(json.dumps(value) for value in space["choices"]) if "choices" in space else json.dumps(space)
