"""Draws one holder's tokens in a worker process, and waits while the ledger's database does not answer."""

import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from orchestrator.privacy.errors import BudgetExceeded, LedgerUnreachable
from orchestrator.privacy.ledger.ledger import Ledger

LOGGER = logging.getLogger(__name__)
Answer = TypeVar("Answer")
PATIENCE_S = 600.0

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class TokenDrawer:
    """Draws one holder's tokens; small, picklable, and connects only when it draws.

    Args:
        url: of the ledger.
        name, kind, holder: as for `Ledger.draw`.
        price: units of the cap that each token takes.
        batch: how many tokens to draw at once, before they are used. If the process dies, the unused ones stay charged.
            A copy of the drawer (a pickle, a fork) holds none of them and draws its own.
        patience_s: how long to wait for a database that does not answer, seconds.
    """

    url: str = field(repr=False)
    name: str
    kind: str
    holder: str
    price: int = 1
    batch: int = 1
    patience_s: float = PATIENCE_S
    _drawn: deque[int] = field(default_factory=deque, init=False, repr=False, compare=False)  # process ids

    def draw(self, step: int) -> None:
        """Draw the token of a step; returns once the token is on disk.

        Raises:
            LedgerUnreachable: the database did not answer for `patience_s`.
            BudgetExceeded, ValueError: as for `Ledger.draw`.

        Formal guarantees:
            Each return stands for a token of its own in the ledger, whichever connection broke at whatever time: a draw
            that is repeated after an unclear commit is the same draw.
        """
        if self._take_drawn():
            return
        try:
            self._draw(step, self.batch)
        except BudgetExceeded:
            if self.batch == 1:
                raise
            self._draw(step, 1)  # fewer than a batch are left
            return
        self._drawn.extend([os.getpid()] * (self.batch - 1))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drawn": deque()}

    def _take_drawn(self) -> bool:
        """Use up a token that was drawn earlier, if there is one; `pop` is atomic, so threads never share a token."""
        try:
            return self._drawn.pop() == os.getpid() or self._take_drawn()
        except IndexError:
            return False

    def _draw(self, step: int, count: int) -> None:
        """Draw, with one nonce for all attempts."""
        nonce = secrets.token_hex(16)

        def ask() -> None:
            ledger = _shared(self.url)
            ledger.draw(self.name, self.kind, self.holder, step, count=count, price=self.price, nonce=nonce)

        retry_while_unreachable(ask, self.patience_s, f"{self.holder!r} waited", f"for a token of {self.name!r}")


def retry_while_unreachable(
    ask: Callable[[], Answer], patience_s: float, who: str = "This waited", what: str = ""
) -> Answer:
    """Return what `ask` returns; repeat it while the database does not answer.

    Args:
        ask: idempotent, because the answer to an earlier attempt may have been lost.
        patience_s: how long to wait, seconds.
        who: waited, for the message.
        what: they waited for, for the message.

    Raises:
        LedgerUnreachable: the database did not answer for `patience_s`.
    """
    start, pause = time.monotonic(), _FIRST_PAUSE_S
    while True:
        try:
            return ask()
        except LedgerUnreachable as silence:
            waited = time.monotonic() - start
            if waited + pause > patience_s:
                raise LedgerUnreachable(
                    f"{silence} {' '.join(filter(None, (who, f'{waited:.0f} s', what)))}. Everything that was released "
                    "is accounted for. When the ledger answers, start the same command again."
                ) from None
            if pause == _FIRST_PAUSE_S:
                LOGGER.warning("%s Waiting for up to %.0f s.", silence, patience_s)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


@lru_cache(maxsize=8)
def _shared(url: str) -> Ledger:
    """Return this process's ledger at a URL, so that a process that draws hundreds of tokens connects once."""
    return Ledger(url, create=False)
