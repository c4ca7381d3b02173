"""The dates in the ledger: days.

Times of steps would reveal the sizes of the secret batches, and so something about what is in them. The times at which
a search with a secret number of trials began and ended would reveal that number: the ledger keeps the day on which it
began, and for its end the date of the entry before. Dates never decrease along a chain: a clock that was set back is
refused, because its dates would stay wrong forever; after a clock that was ahead, the operator accepts the right one
(`budgets_table.accept_clock`). Around midnight, one machine may still be in yesterday: its entry takes the date of the
entry before it. Ledgers of earlier versions also hold times.
"""

from datetime import UTC, date, datetime, timedelta

from orchestrator.privacy.errors import ClockBehind

_SKEW = timedelta(days=1)
_DAY = len("2026-01-01")


def today() -> str:
    """Return the day in UTC."""
    return datetime.now(UTC).date().isoformat()


def entry_date(day: str, last: str, budget: str) -> str:
    """Return the date of a budget's entry that is made on `day` and follows one of date `last` (a day, or a time).

    Raises:
        ClockBehind: the clock went backwards.
    """
    if is_behind(day, last):
        raise ClockBehind(
            f"This machine's clock says {day}, but the last entry of budget {budget!r} has the date {last}: the clock "
            "went backwards. Set the clock and start the same command again. If the clock is right now, and was ahead "
            f"before: dpzo budget accept-clock {budget}"
        )
    return max(day, last[:_DAY])


def is_behind(day: str, last: str) -> bool:
    """Return whether `day` is before `last` (a day, or a time) by more than the clocks of machines differ."""
    return date.fromisoformat(last[:_DAY]) - date.fromisoformat(day) > _SKEW
