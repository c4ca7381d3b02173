"""The dates in the ledger: full times for what people decide, days for what steps do.

Times of steps would reveal the sizes of the secret batches, and so something about what is in them. The time at which a
search with a secret number of trials was closed would reveal that number. Dates never decrease along a chain: a clock
that was set back is refused, because its dates would stay wrong forever; after a clock that was ahead, the operator
accepts the right one (`budgets_table.accept_clock`). The clocks of machines differ a little; within
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


def entry_date(date: str, last: str, budget: str) -> str:
    """Return the date of a budget's entry that is made at `date` and follows one of date `last`; each a time or a day.

    Raises:
        ValueError: the clock went backwards.
    """
    if is_behind(date, last):
        raise ValueError(
            f"This machine's clock says {date}, but the last entry of budget {budget!r} has the date {last}: the clock "
            "went backwards. Set the clock and start the same command again. If the clock is right now, and was ahead "
            f"before: dpzo budget accept-clock {budget}"
        )
    length = min(len(date), len(last))
    return date if date[:length] >= last[:length] else last[: len(date)]


def is_behind(date: str, last: str) -> bool:
    """Return whether `date` is before `last` by more than the clocks of machines differ."""
    length = min(len(date), len(last))
    skew = _MIDNIGHT_SKEW if length == len("2026-01-01") else _SKEW
    return datetime.fromisoformat(last[:length]) - datetime.fromisoformat(date[:length]) > skew
