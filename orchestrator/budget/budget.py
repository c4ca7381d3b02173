"""The budget of a data set, for programs and for `dpzo budget`: create, view, verify and export it.

from orchestrator import Budget

budget = Budget.create("reviews", data="private.jsonl", num_examples=4000, epsilon=3, delta=1e-5)
print(budget.view().left)        # what later sweeps may still take
budget.verify()                  # checks the chain, and computes ε of every reservation anew
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from orchestrator.budget.ledger_location import open_ledger
from orchestrator.budget.release_logs import require_logs_known
from orchestrator.budget.verification import Recomputed, overspending, recompute
from orchestrator.budget.view import BudgetView, view_of
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.errors import LedgerCorruptError
from orchestrator.privacy.ledger.budget import BudgetTerms, Composition
from orchestrator.privacy.ledger.engines import sqlite_file
from orchestrator.privacy.ledger.history import HistoryRow
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.renyi_filter import renyi_budget
from orchestrator.storage.paths import DEFAULT_FOLDER


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
        """Declare the budget of a data set. Creates the ledger if it is missing; idempotent.

        Args:
            name: of the budget.
            data: the private rows (a file, or a data set of the hub): read once, for their keyed fingerprint.
            num_examples: declared number of examples; or
            num_users: of users, where they are the unit.
            epsilon: the limit; None counts without one.
            delta: the limit of δ; 0 for pure ε.
            adjacency: the relation of all costs.
            composition: 'sum' adds up ε and δ; 'rdp' adds up Rényi divergences, at one order that is fixed now.
            order: Rényi order for 'rdp'; when None, one that suits DP fine-tuning.
            ledger: as for the class.

        Raises:
            ValueError: terms out of range, other terms or other data under this name, or data that has a budget.
        """
        num_units = num_examples if num_users is None else num_users
        if num_units is None or (num_examples is not None and num_users is not None):
            raise ValueError("A budget counts examples or users: give num_examples or num_users, one of them.")
        limit = None
        if composition == "rdp":
            order, limit = renyi_budget(epsilon, delta, adjacency, order)
        terms = BudgetTerms(
            name=name,
            epsilon=epsilon,
            delta=delta,
            num_units=num_units,
            adjacency=adjacency,
            unit="example" if num_users is None else "user",
            composition=composition,
            order=order,
            renyi_limit=limit,
        )
        from trainers.data.fingerprint import fingerprint
        from trainers.data.sources import check_source

        check_source(data, [], "--data")  # before a ledger is made for a file that is not there
        opened = open_ledger(ledger, create=True)
        opened.create_budget(replace(terms, fingerprint=fingerprint(data, opened.key())))
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
        checked = list(recomputed(self.ledger, [self]))
        require_fitting(checked)
        return checked


def recomputed(
    ledger: Ledger, chosen: Sequence[Budget], report: Callable[[str], object] = lambda _: None
) -> Iterator[Recomputed]:
    """Check a ledger's chains and the release logs beside it, and compute ε of every reservation of some budgets anew.

    Each ε takes some seconds; `report` is called before, with the name of the reservation.

    Raises:
        LedgerCorruptError: a chain is broken, or a release log has more draws than the ledger.
    """
    ledger.verify_all()
    file = sqlite_file(ledger.url)
    for root in {DEFAULT_FOLDER.absolute(), *([file.parent] if file else [])}:
        require_logs_known(ledger, root)
    for budget in chosen:
        for reservation in budget.view().reservations:
            report(reservation.name)
            yield recompute(ledger, budget.terms, reservation.name)
        yield from overspending(ledger, budget.terms)


def require_fitting(checked: list[Recomputed]) -> None:
    """Raise LedgerCorruptError if something that was recomputed is not what the ledger says."""
    wrong = [one for one in checked if one.problem is not None]
    if wrong:
        raise LedgerCorruptError(
            f"{len(wrong)} of {len(checked)} checked do not fit. {wrong[0].name!r}: {wrong[0].problem}. Its ε is not "
            "verified: do not spend from this budget before you know why."
        )


def all_budgets(ledger: Ledger) -> list[Budget]:
    """Return the budgets of a ledger, by name."""
    return [Budget(terms.name, ledger) for terms in ledger.budgets()]
