"""The exceptions of the privacy core, beside `ValueError` for wrong arguments.

A file of their own, so that a training worker, which only draws tokens, loads no accountant. All keep their fields when
they are pickled, because a worker's refused draw is raised in another process.
"""

from trainers.errors import DpzoError  # the only import from outside this package: see pyproject.toml


class BudgetExceeded(DpzoError):
    """A budget or a cap has no room for a request; nothing was charged.

    Not a `ValueError`, so that a handler of bad configurations cannot catch it.

    Args:
        message: what was requested, what is left, and what would fit.
        spent: what was used before, in the unit of the message (ε or tokens).
        asked: what the request would have used.
        left: what remains.
    """

    def __init__(self, message: str, spent: float, asked: float, left: float) -> None:
        super().__init__(message, spent, asked, left)
        self.message = message
        self.spent = spent
        self.asked = asked
        self.left = left

    def __str__(self) -> str:
        return self.message


class LedgerCorruptError(DpzoError):
    """The ledger contradicts itself or a release log: nothing more may be released."""


class LedgerUnreachable(DpzoError):
    """The ledger's database does not answer: nothing may be released until it does.

    `Ledger` raises it at once, `TokenDrawer` after `patience_s`. The message shows no password.
    """


class ClockBehind(DpzoError, ValueError):
    """The clock of this machine is behind the dates of the ledger: nothing may be written there until it is right."""
