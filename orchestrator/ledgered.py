"""A run whose every release draws its token from the ledger."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from orchestrator.privacy.composition import EVALUATION, TRAIN_STEP
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger import Ledger, TokenDrawer
from orchestrator.storage import Storage
from trainers.config import RunConfig
from trainers.run import Run, Tokens, Workspace, mechanism_plan
from trainers.tokens import TokensExhausted


class LedgerTokens:
    """Tokens of one run from the ledger, refused in the words that the loop understands."""

    def __init__(self, drawer: TokenDrawer) -> None:
        self._drawer = drawer

    def draw(self, step: int) -> None:
        """Take a token from the ledger, or raise `TokensExhausted`."""
        try:
            self._drawer.draw(step)
        except BudgetExceeded as refusal:
            raise TokensExhausted(str(refusal)) from refusal


def open_ledgered_run(
    workspace: Workspace, config: RunConfig, noise_multiplier: float | None, storage: Storage, holder: str, folder: Path
) -> Run:
    """Open or reopen a run under the reservation `storage.name`, and check that the ledger knows of all it drew.

    Raises:
        ValueError: the folder holds the log of another run.
        LedgerCorruptError: the release log has seen more draws than the ledger: the ledger was set back.
    """
    url = storage.database_url
    tokens = Tokens(
        steps=LedgerTokens(TokenDrawer(url, storage.name, TRAIN_STEP, holder)),
        scores=LedgerTokens(TokenDrawer(url, storage.name, EVALUATION, holder)),
    )
    ledger = Ledger(url, create=False)
    run = Run(workspace, config, mechanism_plan(config, noise_multiplier), tokens, folder)
    with ExitStack() as if_refused:
        if_refused.callback(run.close)
        ledger.require_drawn(storage.name, TRAIN_STEP, holder, run.steps_charged)
        if run.scores_charged:
            ledger.require_drawn(storage.name, EVALUATION, holder, run.scores_charged)
        if_refused.pop_all()
    return run
