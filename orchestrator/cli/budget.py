"""`dpzo budget`: declare the privacy budget of a data set, and show, check and export it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.api.views.console import progress_console
from orchestrator.cli.errors import clear_errors
from orchestrator.cli.output import Format, OutputFormat, as_json, print_result
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.ledger.budget import Composition

if TYPE_CHECKING:
    from orchestrator.budget.budget import Budget

app = typer.Typer(
    help="Declare, show, check and export the privacy budget of a data set. All its runs and sweeps draw from it.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


class Unit(StrEnum):
    """The unit of privacy: what neighbouring data sets differ in."""

    EXAMPLE = "example"
    USER = "user"


Place = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="URL|PATH",
        help="Ledger: SQLAlchemy URL, SQLite file or storage folder. Default: runs/dpzo.db.",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(help="Name of a budget.", show_default=False)]
AnyName = Annotated[str | None, typer.Argument(help="Name of a budget. Default: all.", show_default=False)]


@app.command()
@clear_errors()
def create(
    name: Name,
    data: Annotated[str, typer.Option(help="The private rows. They are read once, for a keyed fingerprint.")],
    num_examples: Annotated[int | None, typer.Option(min=1, help="Number of examples; it is public.")] = None,
    num_users: Annotated[int | None, typer.Option(min=1, help="Number of users; it is public.")] = None,
    unit: Annotated[Unit | None, typer.Option(help="Unit of privacy: one example, or one user.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Limit of ε.")] = None,
    delta: Annotated[float | None, typer.Option(help="Limit of δ; 0 for pure ε.")] = None,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Count what is spent, without a limit.")] = False,
    adjacency: Annotated[Adjacency, typer.Option(help="Which data sets count as neighbours.")] = "add-or-remove-one",
    composition: Annotated[Composition, typer.Option(help="How costs add up: sum (of ε), or rdp (Rényi ε).")] = "sum",
    order: Annotated[float | None, typer.Option(help="Rényi order for rdp. Default: a suitable one.")] = None,
    ledger: Place = None,
    output: OutputFormat = Format.TEXT,
) -> None:
    """Declare the budget of a data set. A second call with the same terms changes nothing."""
    from orchestrator.api.views.budget import created_summary
    from orchestrator.budget.budget import Budget

    _require_unit(unit, num_examples, num_users)
    _require_limit(epsilon, delta, no_limit)
    made = Budget.create(
        name,
        data=data,
        num_examples=num_examples,
        num_users=num_users,
        epsilon=epsilon,
        delta=delta or 0.0,
        adjacency=adjacency,
        composition=composition,
        order=order,
        ledger=ledger,
    )
    suggested = order is None and made.terms.order is not None
    print_result(output, made.terms, created_summary(made.terms, made.ledger.url, suggested))


@app.command()
@clear_errors()
def show(name: AnyName = None, ledger: Place = None, output: OutputFormat = Format.TEXT) -> None:
    """Show what is reserved and left of every budget; with a name, also its reservations."""
    from orchestrator.api.views.budget import budget_summary, budgets_table

    views = [budget.view() for budget in _chosen(name, ledger)]
    if name is None:
        print_result(output, views, budgets_table(views))
    else:
        print_result(output, views[0], budget_summary(views[0]))


@app.command()
@clear_errors()
def history(name: Name, ledger: Place = None, output: OutputFormat = Format.TEXT) -> None:
    """Show the history of a budget, oldest entry first."""
    from orchestrator.api.views.budget import history_table

    rows = _chosen(name, ledger)[0].history()
    print_result(output, rows, history_table(rows))


@app.command()
@clear_errors()
def verify(name: AnyName = None, ledger: Place = None, output: OutputFormat = Format.TEXT) -> None:
    """Check the ledger against its hashes and release logs, and recompute every ε. Exit code 3: something is wrong."""
    from orchestrator.api.views.budget import verified_table
    from orchestrator.budget.budget import Budget, all_budgets, recomputed, require_fitting
    from orchestrator.budget.ledger_location import open_ledger

    opened = open_ledger(ledger)
    chosen = all_budgets(opened) if name is None else [Budget(name, opened)]
    with progress_console().status("checking the chains") as status:
        verified = list(recomputed(opened, chosen, lambda reservation: status.update(f"computing ε of {reservation}")))
    print_result(output, verified, verified_table(verified))
    require_fitting(verified)


@app.command("accept-clock")
@clear_errors()
def accept_clock(name: Name, ledger: Place = None, output: OutputFormat = Format.TEXT) -> None:
    """Go on after a clock that was ahead: this machine's clock is right. History and statements will say so."""
    from orchestrator.api.views.budget import history_table

    (budget,) = _chosen(name, ledger)
    budget.ledger.accept_clock(name)
    rows = budget.history()[-1:]
    print_result(output, rows, history_table(rows))


@app.command()
@clear_errors()
def export(
    name: Name,
    to: Annotated[Path | None, typer.Option("--output", help="File to write. Default: standard output.")] = None,
    ledger: Place = None,
) -> None:
    """Write all that may be released about a budget as JSON, with a hash chain that anyone can check."""
    from orchestrator.storage.files import write_whole

    released = _chosen(name, ledger)[0].export()
    if to is None:
        print_result(Format.JSON, released, "")
    else:
        write_whole(to, as_json(released))


def _chosen(name: str | None, ledger: str | None) -> Sequence[Budget]:
    from orchestrator.budget.budget import Budget, all_budgets
    from orchestrator.budget.ledger_location import open_ledger

    return all_budgets(open_ledger(ledger)) if name is None else [Budget(name, ledger)]


def _require_unit(unit: Unit | None, num_examples: int | None, num_users: int | None) -> None:
    if (num_examples is None) == (num_users is None):
        raise ValueError("give the number of units: either --num-examples, or --num-users where a user is the unit")
    counted = Unit.EXAMPLE if num_users is None else Unit.USER
    if unit not in (None, counted):
        raise ValueError(f"--unit {unit} needs --num-{unit}s, got --num-{counted}s")


def _require_limit(epsilon: float | None, delta: float | None, no_limit: bool) -> None:
    if no_limit and (epsilon is not None or delta is not None):
        raise ValueError("--no-limit counts without a limit: leave it out, or leave out --epsilon and --delta")
    if not no_limit and (epsilon is None or delta is None):
        raise ValueError("a budget needs --epsilon and --delta (0 for pure ε), or --no-limit to count only")
