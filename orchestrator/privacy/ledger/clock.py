"""The dates in the ledger: full times for what people decide, days for what steps do.

Times of steps would reveal the sizes of the secret batches, and so something about what is in them. The time at which a
search with a secret number of trials was closed would reveal that number. Dates never decrease along a chain: a clock
that was set back is refused, because its dates would stay wrong forever. The clocks of machines differ a little; within
that difference, an entry takes the date of the entry before it.
"""

from datetime import UTC, datetime, timedelta

_SKEW = timedelta(minutes=5)
_MIDNIGHT_SKEW = timedelta(days=1)  # around midnight, one machine may still be in yesterday


def now() -> str:
    """Return the time in UTC, for an entry that a person's command makes."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def today() -> str:
    """Return the day in UTC."""
    return datetime.now(UTC).date().isoformat()


def entry_date(date: str, last: str, where: str) -> str:
    """Return the date of an entry that is made at `date` and follows an entry of date `last`; each a time or a day.

    Raises:
        ValueError: the clock went backwards.
    """
    length = min(len(date), len(last))
    if date[:length] >= last[:length]:
        return date
    skew = _MIDNIGHT_SKEW if length == len("2026-01-01") else _SKEW
    if datetime.fromisoformat(last[:length]) - datetime.fromisoformat(date[:length]) > skew:
        raise ValueError(
            f"This machine's clock says {date}, but the last entry of {where} in the ledger has the date {last}: the "
            "clock went backwards. Set the clock and start the same command again."
        )
    return last[: len(date)]
