"""Which settings a sweep may vary, and why it may not vary the others.

The configuration says it at each field, by the mark `Searchable`. A trial may change what leaves the event of the
accountant alone: under rule 1 the caps on steps and evaluations, with their sampling probability and noise multiplier,
are fixed before the sweep starts. Every other name is refused with its reason.

A number inside a schedule or a mask has a longer name, 'method.learning_rate.start', 'method.clip_norm.values.1' or
'method.mask.keep': what the configuration itself gives there is the frame that a trial's values are put into.
"""

import functools
import re
from collections.abc import Iterator
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from search_spaces.stages import STAGES, is_of_stages, type_in_stages
from trainers.config import RunConfig
from trainers.config.schedules import ClipSchedule, RateSchedule, Schedule
from trainers.config.sections import Searchable

_IN_SCHEDULE = re.compile(r"(parts\.\d+\.)?(schedule\.)?(start|end|factor|value|every|values\.\d+)|kind")
_SCHEDULES = tuple(get_args(kind)[0] for kind in (Schedule, ClipSchedule, RateSchedule))
_ScheduleKind = Literal["constant", "step", "cosine", "geometric", "stagewise"]  # of numbers alone: none inside another
_CAPPED = ("privacy.", "score.")
_CAPPED_FIELDS = ("method.num_steps", "data.num_examples")
_WHY_CAPPED = (
    "fixed before the sweep: sampling probability, noise multiplier and the number of steps and scores are the caps "
    "that the reported epsilon counts (rule 1 of the accounting)"
)


@functools.cache
def dotted_names(model: type[BaseModel]) -> tuple[str, ...]:
    """List the dotted names of all settings of a model, sections opened: 'method.smoothing'."""
    return tuple(name for name, _ in _fields(model))


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, RootModel):
            yield from _fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _mark(field: FieldInfo) -> Searchable | None:
    return next((mark for mark in field.metadata if isinstance(mark, Searchable)), None)


_MARKS = {name: mark for name, field in _fields(RunConfig) if (mark := _mark(field)) is not None}
METHOD_CHOICES = ("method.name", "method.preset")
"""What decides which settings the `method` section has."""
SEARCHABLE = (
    *(name for name, mark in _MARKS.items() if not mark.only_under_filter and name not in METHOD_CHOICES),
    *METHOD_CHOICES,
)
FILTERED = tuple(name for name, mark in _MARKS.items() if mark.only_under_filter)
"""What enters the event, and may be searched only under a Rényi filter (rule 3): every trial pays its own price."""
_LISTED = ", ".join(SEARCHABLE)
_WAYS_OUT = f" ({', '.join(FILTERED)}: under search.filter.space, or declare a search.menu)"


def searchable(name: str) -> str:
    """Return `name` itself, if a sweep may vary it; else ValueError says why not, and what may have been meant."""
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
    if is_of_stages(name):
        return True
    field, inside = _find(name)
    mark = None if field is None else _mark(field)
    if field is None or mark is None or mark.only_under_filter:
        return False
    return not inside or (field.annotation in _SCHEDULES and _IN_SCHEDULE.fullmatch(inside) is not None)


def filter_searchable(name: str) -> str:
    """Return `name` itself, if a sweep may vary it under a Rényi filter; else ValueError."""
    if name in FILTERED:
        return name
    why = "belongs into search.space" if is_searchable(name) else "cannot be searched under a filter"
    raise ValueError(f"{why}. search.filter.space takes {', '.join(FILTERED)}")


def type_of(name: str) -> Any:
    """Return the type of a setting: float for one that may be a schedule, and for the numbers inside one."""
    if is_of_stages(name):
        return type_in_stages(name)
    field, inside = _find(name)
    assert field is not None, f"{name} is no setting"
    if inside:
        return {"every": int, "kind": _ScheduleKind}.get(inside.rpartition(".")[2], float)
    return float if field.annotation in _SCHEDULES else _plain(field.annotation)


def setting_of(name: str) -> str:
    """Return the setting that a name belongs to: 'method.clip_norm' of 'method.clip_norm.values.1'."""
    if is_of_stages(name):
        return STAGES
    inside = _find(name)[1]
    return name.removesuffix(f".{inside}") if inside else name


def _find(name: str) -> tuple[FieldInfo | None, str]:
    """Return the innermost field that a dotted name goes through, and what is left of the name inside of it."""
    model, field, keys = RunConfig, None, name.split(".")
    while keys and isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(keys[0])
        if field is None:
            return None, name
        keys, model = keys[1:], field.annotation if field.annotation in _SCHEDULES else _plain(field.annotation)
    return field, ".".join(keys)


def _plain(annotation: Any) -> Any:
    """Return an annotation without its marks and without None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        return _plain(members[0]) if len(members) == 1 else annotation
    return annotation


def _suggestion(name: str) -> str:
    """Say what an unknown name may have meant, with a leading blank; empty if nothing is close."""
    known = dotted_names(RunConfig)
    same_end = [full for full in known if full.rpartition(".")[2] == name.rpartition(".")[2]]
    meant = (same_end or get_close_matches(name, known, n=1) or [None])[0]
    if meant is None:
        return ""
    if meant in SEARCHABLE:
        return f" Did you mean {meant!r}?"
    capped = meant.startswith(_CAPPED) or meant in _CAPPED_FIELDS
    return f" If {meant!r} is meant: {_WHY_CAPPED if capped else 'it is the same for every trial'}."
