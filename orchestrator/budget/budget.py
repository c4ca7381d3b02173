"""A data set's budget, for programs and for `dpzo budget`: made, looked at, checked and exported.

from orchestrator import Budget

budget = Budget.create("reviews", data="private.jsonl", num_examples=4000, epsilon=3, delta=1e-5)
print(budget.view().left)        # what later sweeps may still take
budget.verify()                  # the chain, and ε of every reservation computed anew
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from orchestrator.budget.ledger_location import open_ledger
from orchestrator.budget.verification import Recomputed, overspending, recompute
from orchestrator.budget.view import BudgetView, view_of
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger import budget as budgets
from orchestrator.privacy.ledger.budget import BudgetUnit, Composition
from orchestrator.privacy.ledger.history import HistoryRow
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.laws import EvaluationCap, StepCap
from orchestrator.privacy.rules.renyi_filter import UNITS, RenyiFilter, best_order, renyi_limit

_SMALLEST_DELTA = 1e-12  # of a Rényi filter

# What fine-tuning by DP zeroth-order steps looks like: long runs of fainter and of stronger steps, and a few scores.
TYPICAL = (
    StepCap(sampling_prob=0.016, noise_multiplier=1.2, num_steps=1000),
    StepCap(sampling_prob=0.0416, noise_multiplier=2.767, num_steps=1000),
    StepCap(sampling_prob=0.064, noise_multiplier=4.0, num_steps=1000),
    EvaluationCap(noise_multiplier=20.0, count=30),
)


class Budget:
    """The budget of one data set, in a ledger.

    Args:
        name: of the budget.
        ledger: SQLAlchemy URL, path of a SQLite file or of a storage folder, or an open ledger; `runs` when absent.

    Raises:
        ValueError: there is no ledger, or no budget of this name in it.
        LedgerUnreachable: the database does not answer.
    """

    def __init__(self, name: str, ledger: str | Path | Ledger | None = None) -> None:
        self.ledger = ledger if isinstance(ledger, Ledger) else open_ledger(ledger)
        self.terms = self.ledger.budget(name)

    @classmethod
    def create(
        cls,
        name: str,
        *,
        data: str,
        num_examples: int | None = None,
        num_users: int | None = None,
        epsilon: float | None,
        delta: float = 0.0,
        adjacency: Adjacency = "add-or-remove-one",
        composition: Composition = "sum",
        order: float | None = None,
        ledger: str | Path | None = None,
    ) -> Self:
        """Declare the budget of a data set, in a ledger that is made if it is missing. Again changes nothing.

        Args:
            name: of the budget.
            data: the private rows (a file, or a data set of the hub): read once, for their keyed fingerprint.
            num_examples: declared number of examples; or
            num_users: of users, where they are the unit.
            epsilon: the limit; None counts without one.
            delta: the limit of δ; 0 for pure ε.
            adjacency: the relation that every cost will be for.
            composition: 'sum' adds ε and δ up; 'rdp' adds Rényi divergences up, at one order that is fixed now.
            order: Rényi order for 'rdp'; when None, one that suits DP fine-tuning.
            ledger: as for the class.

        Raises:
            ValueError: terms out of range, other terms or other data under this name, or data that has a budget.
        """
        counted: dict[BudgetUnit, int | None] = {"example": num_examples, "user": num_users}
        given: list[tuple[BudgetUnit, int]] = [(unit, number) for unit, number in counted.items() if number is not None]
        if len(given) != 1:
            raise ValueError("A budget counts examples or users: give num_examples or num_users, one of them.")
        ((unit, num_units),) = given
        order, limit = _filter_of(epsilon, delta, adjacency, composition, order)
        terms = budgets.BudgetTerms(
            name=name,
            epsilon=epsilon,
            delta=delta,
            num_units=num_units,
            adjacency=adjacency,
            unit=unit,
            composition=composition,
            order=order,
            renyi_limit=limit,
        )
        from trainers.data.fingerprint import fingerprint
        from trainers.data.sources import check_source

        check_source(data, [], "--data")  # before a ledger is made for a file that is not there
        opened = open_ledger(ledger, create=True)
        terms = budgets.BudgetTerms.from_json(terms.to_json(), fingerprint(data, opened.key()))
        opened.create_budget(terms)
        return cls(name, opened)

    def view(self) -> BudgetView:
        """Return terms, what is reserved and left, and the reservations; LedgerCorruptError if its chain is broken."""
        return view_of(self.ledger, self.terms)

    def history(self) -> list[HistoryRow]:
        """Return what happened to the budget, oldest first."""
        return self.ledger.history(self.terms.name)

    def export(self) -> dict[str, Any]:
        """Return all that may be released about the budget, as JSON values with a chain that anyone can check."""
        return self.ledger.export(self.terms.name)

    def verify(self) -> list[Recomputed]:
        """Check the whole ledger's chains, ε of every reservation of this budget, and that they fit its limit.

        Raises:
            LedgerCorruptError: saying what does not fit.
        """
        found = list(recomputed([self]))
        require_fitting(found)
        return found


def recomputed(chosen: Sequence[Budget], told: Callable[[str], object] = lambda _: None) -> Iterator[Recomputed]:
    """Check the chains of a ledger, and compute ε of every reservation of some of its budgets anew.

    Args:
        chosen: the budgets, of one ledger.
        told: called with the name of each reservation before its ε is computed, which takes some seconds.

    Raises:
        LedgerCorruptError: a chain is broken.
    """
    if chosen:
        chosen[0].ledger.verify_all()
    for budget in chosen:
        for reservation in budget.view().reservations:
            told(reservation.name)
            yield recompute(budget.ledger, budget.terms, reservation.name)
        yield from overspending(budget.ledger, budget.terms)


def require_fitting(found: list[Recomputed]) -> None:
    """Raise LedgerCorruptError if something that was recomputed is not what the ledger says."""
    wrong = [one for one in found if one.problem is not None]
    if wrong:
        raise LedgerCorruptError(
            f"{len(wrong)} of {len(found)} checked do not fit. {wrong[0].name!r}: {wrong[0].problem}. Its ε is not "
            "vouched for: do not spend from this budget before that is understood."
        )


def all_budgets(ledger: Ledger) -> list[Budget]:
    """Return the budgets of a ledger, by name."""
    return [Budget(terms.name, ledger) for terms in ledger.budgets()]


def _filter_of(
    epsilon: float | None, delta: float, adjacency: Adjacency, composition: Composition, order: float | None
) -> tuple[float | None, float | None]:
    """Return the order and the limit of a Rényi budget; None for a budget that adds ε up."""
    if composition == "sum":
        if order is not None:
            raise ValueError("A Rényi order belongs to composition 'rdp'; a budget of composition 'sum' has none.")
        return None, None
    if not epsilon or not _SMALLEST_DELTA <= delta < 1:
        raise ValueError(f"Composition 'rdp' needs epsilon above 0 and delta in [{_SMALLEST_DELTA:g}, 1).")
    if adjacency != "add-or-remove-one":
        raise ValueError("Composition 'rdp' is proven for add-or-remove-one only: take composition 'sum'.")
    suggested = best_order(TYPICAL, epsilon, delta)
    order = suggested if order is None else order
    if renyi_limit(epsilon, delta, order) <= 1 / UNITS:
        raise ValueError(
            f"At order {order:g} the conversion to (ε, δ) leaves nothing of ε = {epsilon:g}; order {suggested:g} suits."
        )
    return order, RenyiFilter(order=order, epsilon_limit=epsilon, delta=delta).capacity() / UNITS
