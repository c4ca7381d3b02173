"""Raises several problems of one configuration at once, each at its own place."""

from collections.abc import Sequence
from typing import NoReturn

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Problem = tuple[tuple[str, ...], str]
"""Place (keys from the model that is being validated) and complaint."""


def refuse(title: str, problems: Sequence[Problem]) -> NoReturn:
    """Raise `problems` as a ValidationError in a validator; pydantic puts the place of the model in front of each."""
    details: list[InitErrorDetails] = [
        {"type": PydanticCustomError("value_error", "{problem}", {"problem": what}), "loc": where, "input": None}
        for where, what in problems
    ]
    raise ValidationError.from_exception_data(title, details)
