"""The refusals that this package makes, apart from `ValueError` for wrong arguments.

They live in a file of their own so that a training worker, which only draws tokens, loads no accountant. All keep
their fields through pickling: they cross process borders when a worker's draw is refused.
"""

from __future__ import annotations

from trainers.errors import DpzoError  # the only import from outside this package: see pyproject.toml


class BudgetExceeded(DpzoError):
    """A privacy budget or a cap does not have room for what was asked; nothing was charged.

    Not a `ValueError`, so that a handler for bad configuration cannot swallow it.

    Args:
        message: what was asked, what is left, and the nearest plan that fits.
        spent: what was already used, in the unit of the message (ε or tokens).
        asked: what the refused request would have used.
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
    """The ledger contradicts itself, or someone who remembers more draws than it does: stop, do not spend."""


class LedgerUnreachable(DpzoError):
    """The ledger's database does not answer: nothing may be released until it does.

    Raised at once by `Ledger`, and by `TokenDrawer` after its patience; the message names no password.
    """
