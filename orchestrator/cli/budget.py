"""`dpzo budget`: a data set's privacy budget, made before the first run and looked at after each."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic_core import to_json

from orchestrator.cli.output import Format, OutputFormat, clear_errors, print_result, progress_console
from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.ledger.budget import Composition

if TYPE_CHECKING:
    from orchestrator.budget.budget import Budget

app = typer.Typer(
    help="The privacy budget of a data set: all sweeps and runs on it draw from one.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


class Unit(StrEnum):
    """What is added, removed or replaced."""

    EXAMPLE = "example"
    USER = "user"


Place = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="URL|PATH",
        help="SQLAlchemy URL, SQLite file or storage folder; runs/dpzo.db when absent.",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(help="Name of a budget.", show_default=False)]
AnyName = Annotated[str | None, typer.Argument(help="Name of a budget; all of them when absent.", show_default=False)]


@app.command()
def create(
    name: Name,
    data: Annotated[str, typer.Option(help="The private rows: read once, for a keyed fingerprint.")],
    num_examples: Annotated[int | None, typer.Option(min=1, help="Declared number of examples, public.")] = None,
    num_users: Annotated[int | None, typer.Option(min=1, help="Declared number of users, public.")] = None,
    unit: Annotated[Unit | None, typer.Option(help="Whose privacy it is: that of one example, or of one user.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="The limit of ε.")] = None,
    delta: Annotated[float | None, typer.Option(help="The limit of δ; 0 for pure ε.")] = None,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Only count what is spent.")] = False,
    adjacency: Annotated[Adjacency, typer.Option(help="The relation that costs are for.")] = "add-or-remove-one",
    composition: Annotated[Composition, typer.Option(help="How costs add up: ε, or Rényi ε at one order.")] = "sum",
    order: Annotated[float | None, typer.Option(help="Rényi order for rdp; one that suits when absent.")] = None,
    ledger: Place = None,
    output: OutputFormat = Format.TEXT,
) -> None:
    """Declare the budget of a data set; again with the same terms changes nothing."""
    with clear_errors():
        from orchestrator.budget.budget import Budget
        from orchestrator.cli.views.budget import created_summary
        from orchestrator.privacy.ledger.store import place_of

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
        place = place_of(made.ledger.url)
        print_result(output, lambda: _json(made.terms), lambda _: created_summary(made.terms, place, suggested))


@app.command()
def show(name: AnyName = None, ledger: Place = None, output: OutputFormat = Format.TEXT) -> None:
    """Show what is reserved of each budget and left; of one budget, also its reservations."""
    with clear_errors():
        from orchestrator.cli.views.budget import budget_summary, budgets_table

        views = [budget.view() for budget in _chosen(name, ledger)]
        if name is None:
            print_result(output, lambda: _json(views), lambda _: budgets_table(views))
        else:
            print_result(output, lambda: _json(views[0]), lambda _: budget_summary(views[0]))


@app.command()
def history(name: Name, ledger: Place = None, output: OutputFormat = Format.TEXT) -> None:
    """Show what happened to a budget, oldest first."""
    with clear_errors():
        from orchestrator.cli.views.budget import history_table

        rows = _chosen(name, ledger)[0].history()
        print_result(output, lambda: _json(rows), lambda _: history_table(rows))


@app.command()
def verify(name: AnyName = None, ledger: Place = None, output: OutputFormat = Format.TEXT) -> None:
    """Check all chains, and compute ε of every reservation anew; exit code 3 if something does not fit."""
    with clear_errors():
        from orchestrator.budget.budget import recomputed, require_fitting
        from orchestrator.cli.views.budget import verified_table

        chosen = _chosen(name, ledger)
        with progress_console().status("checking the chains") as status:
            found = list(recomputed(chosen, lambda reservation: status.update(f"computing ε of {reservation}")))
        print_result(output, lambda: _json(found), lambda _: verified_table(found))
        require_fitting(found)


@app.command()
def export(
    name: Name,
    to: Annotated[Path | None, typer.Option("--output", help="File; standard output when absent.")] = None,
    ledger: Place = None,
) -> None:
    """Write all that may be released about a budget as JSON, with a chain that anyone can check."""
    with clear_errors():
        from orchestrator.storage.files import write_whole

        text = _json(_chosen(name, ledger)[0].export())
        if to is None:
            print_result(Format.JSON, lambda: text, lambda _: text)
        else:
            write_whole(to, text)


def _chosen(name: str | None, ledger: str | None) -> Sequence[Budget]:
    from orchestrator.budget.budget import Budget, all_budgets
    from orchestrator.budget.ledger_location import open_ledger

    return all_budgets(open_ledger(ledger)) if name is None else [Budget(name, ledger)]


def _require_unit(unit: Unit | None, num_examples: int | None, num_users: int | None) -> None:
    if (num_examples is None) == (num_users is None):
        raise ValueError("say how many there are: --num-examples, or --num-users where users are the unit, one of them")
    counted = Unit.EXAMPLE if num_users is None else Unit.USER
    if unit not in (None, counted):
        raise ValueError(f"--unit {unit} needs --num-{unit}s: the number of what is counted, got --num-{counted}s")


def _require_limit(epsilon: float | None, delta: float | None, no_limit: bool) -> None:
    if no_limit and (epsilon is not None or delta is not None):
        raise ValueError("--no-limit counts without a limit: leave --epsilon and --delta out, or it")
    if not no_limit and (epsilon is None or delta is None):
        raise ValueError("a budget needs --epsilon and --delta (0 for pure ε), or --no-limit to count only")


def _json(value: Any) -> str:
    """Return JSON; an infinite ε is null."""
    return to_json(value, indent=2, inf_nan_mode="null").decode() + "\n"
