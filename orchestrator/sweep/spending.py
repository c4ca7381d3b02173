"""What a run or sweep has reserved and drawn, read from its ledger."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.budget.verification import NOT_PRIVATE_RULE
from orchestrator.budget.view import Left, left_of
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Terms
from orchestrator.privacy.rules.registry import rule_from_json
from orchestrator.storage.existing import Existing
from orchestrator.storage.files import changed, read_object
from orchestrator.storage.paths import Storage


@dataclass(frozen=True)
class Spending:
    """What a run or sweep has reserved and drawn; ε at δ.

    `total` and `here` are the statement's total ε and the ε of this run. `reserved` is what the run took from its
    budget: less than `here` where it took over tokens that were charged earlier. `here` is None in such a run before
    its statement is there. `drawn` is ε of the tokens drawn so far, None where it is secret or no rule counts it.
    `left` is None where the budget has no limit.
    """

    budget: str
    limit: float | None
    total: float | None
    total_delta: float
    here: float | None
    reserved: float
    delta: float
    left: Left | None
    tokens_drawn: Mapping[str, tuple[int, int]] | None
    drawn: float | None


def spending_of(
    existing: Existing, *, reveals_secret: bool = False, drawn: Mapping[str, int] | None = None
) -> Spending | None:
    """Return what the ledger holds of a run or sweep; None where nothing is reserved yet.

    Args:
        existing: the run or sweep.
        reveals_secret: whether to count the tokens of a search of one winner too; for the operator.
        drawn: tokens by kind to show in place of the ledger's counts, which move with every step; where it lacks a
            kind, no count is shown.
    """
    storage = existing.storage
    if not storage.may_have_ledger():
        return None
    with Ledger(storage.database_url, create=False) as ledger:
        terms = ledger.terms_of(storage.name)
        if terms is None:
            return None
        budget = ledger.budget(terms.budget)
        spent = ledger.spent(budget.name)
        caps = [entry for entry in ledger.reservations() if entry.name == storage.name]
    counts = {entry.kind: entry.drawn for entry in caps} if drawn is None else drawn
    is_shown = (reveals_secret or not terms.has_secret) and all(entry.kind in counts for entry in caps)
    tokens = {entry.kind: (counts[entry.kind], entry.cap.count) for entry in caps} if is_shown else None
    return Spending(
        budget=budget.name,
        limit=budget.epsilon,
        total=budget.epsilon if budget.composition == "rdp" else spent.epsilon,
        total_delta=budget.delta if budget.composition == "rdp" else spent.delta,
        here=_epsilon_here(storage, terms),
        reserved=terms.cost.epsilon,
        delta=terms.cost.delta,
        left=left_of(budget, spent),
        tokens_drawn=tokens,
        drawn=None if tokens is None else _epsilon_of(terms, tokens, existing.config.privacy.adjacency),
    )


def _epsilon_here(storage: Storage, terms: Terms) -> float | None:
    """Return the statement's ε of this run; before there is a statement, what is charged for all of its tokens."""
    if storage.statement_file.exists():
        here = read_object(storage.statement_file).get("epsilon_here", False)
        if here is not None and (isinstance(here, bool) or not isinstance(here, int | float)):
            raise changed(storage.statement_file, "expected epsilon_here")
        return math.inf if here is None else here
    return None if terms.reused else terms.cost.epsilon


def _epsilon_of(terms: Terms, tokens: Mapping[str, tuple[int, int]], adjacency: Adjacency) -> float | None:
    """Return ε of the tokens drawn so far; None where the rule has none, or tokens of another run were reused."""
    if terms.cost.rule.get("rule") == NOT_PRIVATE_RULE or terms.reused:
        return None
    drawn = {kind: number for kind, (number, _) in tokens.items()}
    return rule_from_json(terms.cost.rule).epsilon_of_drawn(drawn, terms.cost.delta, adjacency)
