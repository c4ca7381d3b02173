"""How a number is shown: an ε or a noise multiplier never looks better than it is."""

from __future__ import annotations

import math


def round_up(value: float, digits: int) -> float:
    """Return the value rounded up to so many significant digits; 0, negative and infinite values as they are."""
    if value <= 0 or math.isinf(value):
        return value
    shown = float(f"{value:.{digits}g}")
    if shown >= value:
        return shown
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    return float(f"{shown + unit:.{digits}g}")
