"""How numbers and files are shown: an ε or a noise multiplier never looks smaller than it is."""

import math
from decimal import ROUND_FLOOR, Context, Decimal
from pathlib import Path


def round_up(value: float, digits: int) -> float:
    """Return the value rounded up to `digits` significant digits; 0, negative and infinite values unchanged."""
    if value <= 0 or math.isinf(value):
        return value
    shown = float(f"{value:.{digits}g}")
    if shown >= value:
        return shown
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    return float(f"{shown + unit:.{digits}g}")


def rounded_down(value: float, digits: int = 4) -> str:
    """Return a remaining amount in `digits` significant digits, rounded down."""
    return f"{float(Decimal(repr(value)).normalize(Context(prec=digits, rounding=ROUND_FLOOR))):g}"


def epsilon_text(epsilon: float, digits: int = 4) -> str:
    """Return an ε or δ in `digits` significant digits, rounded up; ∞ for infinity."""
    return "∞" if math.isinf(epsilon) else f"{round_up(epsilon, digits):.{digits}g}"


def source_name(source: str) -> str:
    """Return the name of a file or folder without the folders above it, which may tell who runs this."""
    return Path(source).name if source.startswith(("/", "~", ".")) else source
