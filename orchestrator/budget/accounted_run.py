"""A run of which every release draws a token from the ledger."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from orchestrator.planning.plan import Plan
from orchestrator.planning.rules.base import TokenDraw
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.drawer import TokenDrawer, retry_while_unreachable
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.log_copy import log_copy
from orchestrator.storage.paths import Storage
from trainers.config import RunConfig
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.release_log import Kind
from trainers.mechanism.tokens import LocalTokens, TokensExhausted
from trainers.run.base_run import BaseRun
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.workers.ranks import Ranks
from trainers.workspace import open_run


class LedgerTokens:
    """Tokens of one run from the ledger; a refusal is the exception that the training loop expects."""

    def __init__(self, drawer: TokenDrawer) -> None:
        self._drawer = drawer

    def draw(self, step: int) -> None:
        """Take a token from the ledger, or raise `TokensExhausted`."""
        try:
            self._drawer.draw(step)
        except BudgetExceeded as refusal:
            raise TokensExhausted(str(refusal)) from refusal


def open_accounted_run(
    workspace: Workspace,
    plan: Plan,
    trial: RunConfig,
    storage: Storage,
    holder: str,
    folder: Path,
    entry: int | None = None,
    ranks: Ranks | None = None,
) -> BaseRun:
    """Open or reopen a trial under the reservation `storage.name`, and check that the ledger knows of all it drew.

    Where several ranks take it, only rank 0 uses the ledger.

    Raises:
        ValueError: the folder holds the log of another run, or the reservation is for another law of noise or sampling.
        LedgerCorruptError: the release log has more draws than the ledger: the ledger was set back.
    """
    mechanism, ranks = mechanism_plan(trial, trial.privacy.noise_multiplier), ranks or Ranks()
    if not ranks.is_rank_0:
        nothing = LocalTokens(0)
        return open_run(RunContext(workspace, trial, mechanism, Tokens(nothing, nothing), folder, ranks))
    url, name = storage.database_url, storage.name
    draws = plan.trial_draws(trial, entry)
    ledger = retry_while_unreachable(lambda: Ledger(url, create=False), storage.patience_s)
    retry_while_unreachable(lambda: _require_reserved_laws(ledger, name, draws), storage.patience_s)
    drawers = {
        kind: LedgerTokens(TokenDrawer(url, name, draw.kind, holder, draw.price, patience_s=storage.patience_s))
        for kind, draw in draws.items()
    }
    tokens = Tokens(steps=drawers["step"], scores=drawers.get("score", drawers["step"]))
    run = open_run(RunContext(workspace, trial, mechanism, tokens, folder, ranks, log_copy(storage, folder)))
    with ExitStack() as if_refused:
        if_refused.callback(run.close)
        recorded = Counter({draws["step"].kind: run.steps_charged})
        if "score" in draws:
            recorded[draws["score"].kind] += run.scores_charged
        retry_while_unreachable(lambda: _require_drawn(ledger, name, holder, recorded), storage.patience_s)
        if_refused.pop_all()
    return run


def _require_drawn(ledger: Ledger, name: str, holder: str, recorded: Mapping[str, int]) -> None:
    for kind, number in recorded.items():
        ledger.require_drawn(name, kind, holder, number)


def _require_reserved_laws(ledger: Ledger, name: str, draws: dict[Kind, TokenDraw]) -> None:
    """Refuse to draw with another noise or sampling rate than the caps were certified for."""
    reserved = {entry.kind: dict(entry.cap.parameters) for entry in ledger.reservations() if entry.name == name}
    for draw in draws.values():
        if draw.kind not in reserved or draw.law not in (None, reserved[draw.kind]):
            raise ValueError(
                f"{name!r} is reserved for {reserved}; this run would draw {draw.kind!r} {draw.law}. Give it another "
                "name."
            )
