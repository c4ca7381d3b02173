"""One spelling of a record: the same bytes for equal values, whatever file format and order of columns they came in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON with sorted columns; a missing value is as no column, and 1.0 is spelt 1.

    Bytes, dates and decimals, which Parquet can hold, are spelt by type and representation.
    """
    plain = {name: value if type(value) is str else _plain(value) for name, value in record.items()}
    present = {name: value for name, value in plain.items() if value is not None}
    return json.dumps(present, sort_keys=True, separators=(",", ":"), default=_other).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {name: _plain(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    return value


def _other(value: Any) -> dict[str, str]:
    return {type(value).__name__: repr(value)}
