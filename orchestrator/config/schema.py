"""What may stand at a dotted place of a configuration: its models with their keys, or a text."""

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, RootModel

from search_spaces.parameters import PARAMETER_KINDS
from trainers.config.schedules import SCHEDULE_KINDS

_KINDS = {**PARAMETER_KINDS, **SCHEDULE_KINDS}
Place = Sequence[str | int]
"""Keys from the outermost model inwards, as in pydantic's errors."""


def models_at(model: type[BaseModel], place: Place) -> list[type[BaseModel]]:
    """Return the models that may stand at a place of `model`; none where a plain value stands."""
    models = [kind for kind in _kinds_at(model, place) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return list(dict.fromkeys(models))


def takes_text(model: type[BaseModel], place: Place) -> bool:
    """Return whether the value at a place of `model` may be any text."""
    return str in _kinds_at(model, place)


def _kinds_at(model: type[BaseModel], place: Place) -> list[Any]:
    kinds: list[Any] = [model]
    for key in place:
        kinds = [member for kind in kinds for below in _below(kind, key) for member in _members(below)]
    return kinds


def _below(kind: Any, key: str | int) -> Iterator[Any]:
    """Yield the annotations that stand under `key` of one kind of value."""
    if key in _KINDS:  # not a key of the file: pydantic's mark for the kind of a parameter or schedule
        yield _KINDS[str(key)]
    elif isinstance(kind, type) and issubclass(kind, RootModel):
        yield from _below(next(iter(_members(kind.model_fields["root"].annotation))), key)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        if key in kind.model_fields:
            yield kind.model_fields[str(key)].annotation
    elif get_origin(kind) in (dict, list, tuple, Mapping):
        yield get_args(kind)[1 if get_origin(kind) in (dict, Mapping) else 0]


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of an annotation, without their marks."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation
