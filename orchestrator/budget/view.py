"""What may be shown of a budget: what is reserved and left, and each reservation with its tokens.

Of a search whose number of trials is secret, it holds no count of drawn tokens.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.privacy.accountant import bounds
from orchestrator.privacy.ledger.budget import BudgetTerms, Spent
from orchestrator.privacy.ledger.chain import RESERVED
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.ledger.terms import Reservation, Terms
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.privacy.rules.registry import title_of
from orchestrator.privacy.rules.renyi_filter import RENYI_UNITS


@dataclass(frozen=True)
class Left:
    """What a budget has room for; None is what this budget does not limit."""

    epsilon: float | None = None
    delta: float | None = None
    renyi: float | None = None


@dataclass(frozen=True)
class Drawn:
    """Tokens of one kind: the cap, and how many were drawn of it; None where that number is a secret."""

    kind: str
    cap: int
    drawn: int | None


@dataclass(frozen=True)
class ReservationView:
    """One reservation; `epsilon` (at `delta`) is what it was charged, infinite for what is not private.

    `share` is the part of its steps (under a filter: of its Rényi budget) that was drawn, None where that is a secret.
    """

    name: str
    rule: str
    epsilon: float
    delta: float
    renyi: float | None
    closed: bool
    reserved_at: str
    tokens: tuple[Drawn, ...]
    share: float | None


@dataclass(frozen=True)
class BudgetView:
    """A budget and its reservations, in the order in which they were made.

    `left` is None without a limit. Of a Rényi budget, `left` is in Rényi ε alone, and `epsilon_so_far` is the ε, at the
    budget's δ, of what is reserved. `share` is the drawn part of what is reserved, weighted by ε.
    """

    terms: BudgetTerms
    spent: Spent
    left: Left | None
    epsilon_so_far: float
    reservations: tuple[ReservationView, ...]
    share: float | None


def view_of(ledger: Ledger, terms: BudgetTerms) -> BudgetView:
    """Return what may be seen of a budget. LedgerCorruptError if its chain is broken."""
    spent = ledger.spent(terms.name)
    rows: dict[str, list[Reservation]] = {}
    for row in ledger.reservations():
        if row.budget == terms.name:
            rows.setdefault(row.name, []).append(row)
    ordered = [row.name for row in ledger.history(terms.name) if row.entry == RESERVED and row.name is not None]
    reserved = tuple(_reservation(rows[name], ledger.terms_of(name)) for name in ordered)
    return BudgetView(terms, spent, left_of(terms, spent), _so_far(terms, spent), reserved, _share(reserved))


def left_of(terms: BudgetTerms, spent: Spent) -> Left | None:
    """Return what a budget has room for, each amount exact and at least 0; None where it has no limit."""
    if terms.epsilon is None:
        return None
    if terms.renyi_limit is not None:
        assert spent.renyi is not None  # the budget has an order
        return Left(renyi=_difference(terms.renyi_limit, spent.renyi))
    return Left(_difference(terms.epsilon, spent.epsilon), _difference(terms.delta, spent.delta))


def _reservation(rows: Sequence[Reservation], terms: Terms | None) -> ReservationView:
    assert terms is not None  # a reservation that has rows has terms
    secret, cost = terms.has_secret, terms.cost
    return ReservationView(
        name=rows[0].name,
        rule=title_of(cost.rule),
        epsilon=cost.epsilon,
        delta=cost.delta,
        renyi=cost.renyi,
        closed=rows[0].closed,
        reserved_at=rows[0].reserved_at,
        tokens=tuple(Drawn(row.kind, row.cap.count, None if secret else row.drawn) for row in rows),
        share=None if secret else _drawn_share(rows),
    )


def _drawn_share(rows: Iterable[Reservation]) -> float:
    """Return the drawn part of the steps; over the entries of a menu, of which a trial takes one, it adds up."""
    steps = [row for row in rows if row.kind.split("/")[0] in (TRAIN_STEP, RENYI_UNITS)]
    return sum(row.drawn / row.cap.count for row in steps if row.cap.count)


def _share(reserved: Iterable[ReservationView]) -> float | None:
    shares = [(one.epsilon, one.share) for one in reserved if one.share is not None]
    if not shares:
        return None
    total = sum(epsilon for epsilon, _ in shares)
    if not 0 < total < math.inf:
        return sum(share for _, share in shares) / len(shares)
    return sum(epsilon * share for epsilon, share in shares) / total


def _so_far(terms: BudgetTerms, spent: Spent) -> float:
    """Return the ε that holds for all that is reserved."""
    if terms.order is None or not spent.renyi:
        return spent.epsilon
    return bounds.from_renyi([terms.order], [spent.renyi], terms.delta)


def _difference(limit: float, spent: float) -> float:
    return max(0.0, float(Decimal(repr(limit)) - Decimal(repr(spent)))) if spent < math.inf else 0.0
