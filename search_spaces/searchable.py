"""Which settings a sweep may vary, and why it may not vary the others.

A trial may change what leaves the event of the accountant alone (rule 1: the caps on steps and evaluations, with their
sampling probability and noise multiplier, are fixed before the sweep starts). Everything else is refused by name.

A number inside a schedule or a mask has a longer name, 'method.learning_rate.start', 'method.clip_norm.values.1' or
'method.mask.keep': what the configuration itself gives there is the frame that a trial's values are put into.
"""

from __future__ import annotations

import functools
import re
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, RootModel

from trainers.config import RunConfig
from trainers.config.mask import MaskConfig
from trainers.config.method import SCHEDULED

SEARCHABLE = (
    "method.smoothing",
    "method.clip_norm",
    "method.learning_rate",
    "method.num_directions",
    "method.direction",
    "method.weight_decay",
    "method.direction_rank",
    "method.difference",
    "method.stage_steps",
    "method.proximal",
    "method.shrinkage",
    "method.momentum",
)
_IN_SCHEDULE = r"((parts\.\d+\.)?(schedule\.)?(start|end|factor|value|every|values\.\d+))"
_INSIDE = re.compile(
    rf"method\.({'|'.join(SCHEDULED)})\.{_IN_SCHEDULE}|"
    rf"method\.mask\.(scores|rank|num_directions|smoothing|keep(\.{_IN_SCHEDULE})?)"
)
FILTERED = ("privacy.noise_multiplier", "privacy.expected_batch_size", "method.num_steps")
"""What enters the event, and may be searched only under a Rényi filter (rule 3): every trial pays its own price."""
_LISTED = ", ".join(SEARCHABLE)
_CAPPED = ("privacy.", "score.")
_CAPPED_FIELDS = ("method.num_steps", "data.num_examples")
_WHY_CAPPED = (
    "fixed before the sweep: sampling probability, noise multiplier and the number of steps and scores are the caps "
    "that the reported epsilon counts (rule 1 of the accounting)"
)
_WAYS_OUT = f" ({', '.join(FILTERED)}: under search.filter.space, or declare a search.menu)"


def searchable(name: str) -> str:
    """Return `name` itself, if a sweep may vary it.

    Raises:
        ValueError: it may not; says why, and what may have been meant.
    """
    if is_searchable(name):
        return name
    if name.startswith(_CAPPED) or name in _CAPPED_FIELDS:
        ways_out = _WAYS_OUT if name in FILTERED else ""
        raise ValueError(f"{_WHY_CAPPED}. Set it outside search.space{ways_out}. Searchable: {_LISTED}")
    if name in dotted_names(RunConfig):
        raise ValueError(f"not a hyperparameter: it is the same for every trial. Searchable: {_LISTED}")
    if name in RunConfig.model_fields:
        raise ValueError(f"a section: write dotted names, {SEARCHABLE[0]}: {{low: …, high: …}}. Searchable: {_LISTED}")
    raise ValueError(f"unknown name.{_suggestion(name)} Searchable: {_LISTED}")


def is_searchable(name: str) -> bool:
    """Return whether a sweep may vary a setting."""
    return name in SEARCHABLE or _INSIDE.fullmatch(name) is not None


def filter_searchable(name: str) -> str:
    """Return `name` itself, if a sweep may vary it under a Rényi filter.

    Raises:
        ValueError: it is not one of those.
    """
    if name in FILTERED:
        return name
    why = "belongs into search.space" if is_searchable(name) else "cannot be searched under a filter"
    raise ValueError(f"{why}. search.filter.space takes {', '.join(FILTERED)}")


@functools.cache
def dotted_names(model: type[BaseModel]) -> tuple[str, ...]:
    """List the dotted names of all settings of a model, sections opened: 'method.smoothing'."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        section = isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, RootModel)
        names += [f"{name}.{below}" for below in dotted_names(kind)] if section else [name]
    return tuple(names)


def type_of(name: str) -> Any:
    """Return what a setting takes: float for one that may be a schedule, and for the numbers inside one."""
    section, field, *inside = name.split(".")
    model: Any = RunConfig.model_fields[section].annotation
    if field == "mask" and len(inside) == 1 and inside[0] != "keep":
        return _plain(MaskConfig.model_fields[inside[0]].annotation)
    if inside:
        return int if inside[-1] == "every" else float
    return float if field in SCHEDULED else _plain(model.model_fields[field].annotation)


def _plain(annotation: Any) -> Any:
    """Return an annotation without its marks and without None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        (member,) = (member for member in get_args(annotation) if member is not NoneType)
        return _plain(member)
    return annotation


def _suggestion(name: str) -> str:
    """Say what an unknown name may have meant, with a leading blank; empty if nothing is close."""
    known = dotted_names(RunConfig)
    same_end = [full for full in known if full.rpartition(".")[2] == name.rpartition(".")[2]]
    found = (same_end or get_close_matches(name, known, n=1) or [None])[0]
    if found is None:
        return ""
    if found in SEARCHABLE:
        return f" Did you mean {found!r}?"
    capped = found.startswith(_CAPPED) or found in _CAPPED_FIELDS
    return f" If {found!r} is meant: {_WHY_CAPPED if capped else 'it is the same for every trial'}."
