"""A run whose every release draws its token from the ledger."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from orchestrator.privacy.composition import EVALUATION, TRAIN_STEP
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger import Ledger, TokenDrawer
from orchestrator.reservation import laws
from orchestrator.storage import Storage
from trainers.config import RunConfig
from trainers.mechanism import MechanismPlan
from trainers.open_run import open_run
from trainers.release_log import Kind, num_reserved
from trainers.run import LOG_NAME, BaseRun, Tokens, Workspace, mechanism_plan
from trainers.tokens import TokensExhausted

KINDS_OF_LOG: dict[str, Kind] = {TRAIN_STEP: "step", EVALUATION: "score"}


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
) -> BaseRun:
    """Open or reopen a run under the reservation `storage.name`, and check that the ledger knows of all it drew.

    Raises:
        ValueError: the folder holds the log of another run, or the reservation is for another law of noise or sampling.
        LedgerCorruptError: the release log has seen more draws than the ledger: the ledger was set back.
    """
    url = storage.database_url
    tokens = Tokens(
        steps=LedgerTokens(TokenDrawer(url, storage.name, TRAIN_STEP, holder)),
        scores=LedgerTokens(TokenDrawer(url, storage.name, EVALUATION, holder)),
    )
    ledger = Ledger(url, create=False)
    mechanism = mechanism_plan(config, noise_multiplier)
    _require_reserved_law(ledger, storage.name, mechanism, config)
    run = open_run(workspace, config, mechanism, tokens, folder)
    with ExitStack() as if_refused:
        if_refused.callback(run.close)
        ledger.require_drawn(storage.name, TRAIN_STEP, holder, run.steps_charged)
        if run.scores_charged:
            ledger.require_drawn(storage.name, EVALUATION, holder, run.scores_charged)
        if_refused.pop_all()
    return run


def holder_of(number: int) -> str:
    """Return the name under which a trial draws its tokens."""
    return f"trial-{number:03d}"


def require_ledger_knows(ledger: Ledger, storage: Storage) -> None:
    """Check that the ledger knows of every token that the trials of a sweep have recorded.

    Raises:
        LedgerCorruptError: a release log has seen more draws than the ledger: the ledger was set back.
    """
    for path in sorted(storage.trials_folder.glob(f"*/{LOG_NAME}")):
        holder = holder_of(int(path.parent.name))
        for kind, log_kind in KINDS_OF_LOG.items():
            reserved = num_reserved(path, log_kind)
            if reserved:
                ledger.require_drawn(storage.name, kind, holder, reserved)


def _require_reserved_law(ledger: Ledger, name: str, mechanism: MechanismPlan, config: RunConfig) -> None:
    """Refuse to draw with another noise or sampling rate than the caps were certified for."""
    reserved = {entry.kind: dict(entry.cap.parameters) for entry in ledger.reservations() if entry.name == name}
    drawn = {kind: dict(cap.parameters) for kind, cap in laws(mechanism, config).items()}
    if reserved != drawn:
        raise ValueError(f"{name!r} is reserved for {reserved}; this run would draw {drawn}. Give it another name.")
