"""The dates in the ledger: full times for what people decide, days for what steps do.

The times of steps would tell how large, and so how composed, the secret batches were; the time at which a search with a
secret number of trials was closed would tell that number. Dates never go back along a chain: a clock that was set back
is refused, because its dates would be wrong for ever. Clocks of several machines differ a little; within that, an entry
bears the date of the one before it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_SKEW = timedelta(minutes=5)
_NEXT_MIDNIGHT = timedelta(days=1)  # of two machines around midnight, one may still be in yesterday


def now() -> str:
    """Return the time, for an entry that a person's command makes."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def today() -> str:
    """Return the day alone."""
    return datetime.now(UTC).date().isoformat()


def dated(date: str, last: str, where: str) -> str:
    """Return the date that an entry bears after one of date `last`; both a time or a day.

    Raises:
        ValueError: the clock went backwards.
    """
    length = min(len(date), len(last))
    if date[:length] >= last[:length]:
        return date
    skew = _NEXT_MIDNIGHT if length == len("2026-01-01") else _SKEW
    if datetime.fromisoformat(last[:length]) - datetime.fromisoformat(date[:length]) > skew:
        raise ValueError(
            f"This machine's clock says {date}, but the last entry of {where} in the ledger is of {last}: the clock "
            "went backwards. Set it right and start the same command again."
        )
    return last[: len(date)]
