"""What the named budget of a configuration has left, before and after the plan. Reads no private row."""

from dataclasses import dataclass

from orchestrator.budget.reservation import require_same_units, reservation_cost, reusable_tokens
from orchestrator.budget.view import Left, left_of
from orchestrator.config.models import LedgeredConfig, SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.budget import BudgetTerms, require_room, spent_of
from orchestrator.privacy.ledger.engines import sqlite_file
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import root_of, storage_in


@dataclass(frozen=True)
class BudgetOutlook:
    """A budget before and after a plan.

    Args:
        name: of the budget.
        terms: None where the ledger does not exist yet; then nothing else is known.
        left: before; None without a limit.
        asked_epsilon: what the plan would be charged: less than its ε where it reuses tokens, 0 where it is reserved.
        reused: tokens that it would take over from closed reservations.
        after: what would be left; None without a limit, or where the plan does not fit.
        refusal: why the budget has no room for the plan, None where it has.
        reserved_already: whether the plan's name is reserved.
    """

    name: str
    terms: BudgetTerms | None = None
    left: Left | None = None
    asked_epsilon: float | None = None
    reused: int = 0
    after: Left | None = None
    refusal: str | None = None
    reserved_already: bool = False


def budget_outlook(plan: Plan) -> BudgetOutlook | None:
    """Return what the named budget has left; None where none is named and no sweep's tokens are reused.

    Raises:
        ValueError: the ledger has no such budget, or it counts another unit or relation.
        LedgerCorruptError, LedgerUnreachable: as for every reading of a ledger.
    """
    config = plan.config
    reuse = config.search.reuse if isinstance(config, SweepConfig) else None
    if not isinstance(config, LedgeredConfig) or (config.budget.name is None and reuse is None):
        return None
    ledger = _existing_ledger(config)
    name = config.budget.name or _budget_of(ledger, reuse)
    if ledger is None:
        return BudgetOutlook(name)
    terms = ledger.budget(name)
    require_same_units(config, ledger, terms)
    return _after(plan, ledger, terms)


def _after(plan: Plan, ledger: Ledger, terms: BudgetTerms) -> BudgetOutlook:
    spent = ledger.spent(terms.name)
    left = left_of(terms, spent)
    if ledger.terms_of(plan.config.name) is not None:
        return BudgetOutlook(terms.name, terms, left, 0.0, after=left, reserved_already=True)
    reused = reusable_tokens(plan, ledger, terms, plan.config.name)
    asked = reservation_cost(plan, terms, reused)
    costs = [known.cost for known in map(ledger.terms_of, _names(ledger, terms.name)) if known is not None]
    num_reused = sum(reused.values())
    try:
        require_room(terms, costs, asked, plan.config.name)
    except BudgetExceeded as refusal:
        return BudgetOutlook(terms.name, terms, left, asked.epsilon, num_reused, refusal=str(refusal))
    after = left_of(terms, spent_of(terms, [*costs, asked]))
    return BudgetOutlook(terms.name, terms, left, asked.epsilon, num_reused, after)


def _names(ledger: Ledger, budget: str) -> list[str]:
    return sorted({row.name for row in ledger.reservations() if row.budget == budget})


def _budget_of(ledger: Ledger | None, reuse: str | None) -> str:
    terms = None if ledger is None or reuse is None else ledger.terms_of(reuse)
    assert terms is not None, "a plan that reuses tokens was made from that ledger"
    return terms.budget


def _existing_ledger(config: LedgeredConfig) -> Ledger | None:
    """Open the configuration's ledger if it exists: a plan creates no file."""
    url = storage_in(root_of(config), config, config.name).database_url
    file = sqlite_file(url)
    return Ledger(url, create=False) if file is None or file.is_file() else None
