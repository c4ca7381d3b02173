"""Tokens: a step draws one before it touches private data.

The training loop knows this protocol alone. The ledger implements it over a database that all trials of a sweep share.
A run without a ledger counts its own steps.
"""

from typing import Protocol

from trainers.errors import DpzoError


class TokensExhausted(DpzoError, RuntimeError):
    """All planned releases are taken: another one would not be covered by the reported epsilon."""


class StepTokens(Protocol):
    """Hands out the tokens of one run."""

    def draw(self, step: int) -> None:
        """Take the token for `step` durably, or raise `TokensExhausted`. Drawn tokens are never returned."""
        ...


class LocalTokens:
    """Counts the steps of a run without a ledger; `already_drawn` comes from its release log."""

    def __init__(self, num_tokens: int, already_drawn: int = 0) -> None:
        self._num_tokens = num_tokens
        self._drawn = already_drawn

    def draw(self, step: int) -> None:
        if self._drawn >= self._num_tokens:
            raise TokensExhausted(
                f"step {step} was refused: all {self._num_tokens} planned steps are taken. A longer run needs a new "
                "plan with its own epsilon (method.num_steps)."
            )
        self._drawn += 1
