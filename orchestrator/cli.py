"""The command line: `dpzo plan`, `dpzo train`, `dpzo sweep`, `dpzo audit`, `dpzo data preview`.

Exit codes: 0 done, 2 bad configuration or input, 3 the privacy budget or its ledger refuses, 4 an audit found a
violation; 1 anything else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.config import load_run, load_sweep, resolved_json
from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError, LedgerUnreachable
from trainers.config import RunConfig

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.planning import Plan

BAD_CONFIGURATION, BUDGET_REFUSED, VIOLATION_FOUND = 2, 3, 4

app = typer.Typer(
    help="Differentially private zeroth-order fine-tuning, with the search's cost in the reported epsilon.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # frames hold private rows
)
data_app = typer.Typer(help="Look at the data as a model will read it.", no_args_is_help=True)
app.add_typer(data_app, name="data")


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


ConfigFile = Annotated[Path, typer.Argument(help="YAML or JSON file; see examples/.", show_default=False)]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as method.num_steps=500.")
]
OutputFormat = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")]


@app.command()
def plan(config: ConfigFile, overrides: Overrides = [], output: OutputFormat = Format.TEXT) -> None:  # noqa: B006
    """Show epsilon, noise, forward passes and time, before anything private is touched."""
    with clear_errors():
        from orchestrator.api import plan as make

        _print_plan(make(config, overrides), output)


@app.command()
def train(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    output: OutputFormat = Format.TEXT,
    dry_run: DryRun = False,
) -> None:
    """Take one run to its end; started again after a kill, it goes on."""
    with clear_errors():
        loaded = load_run(config, overrides)
        if _dry(loaded, dry_run):
            return
        from orchestrator.planning import make_plan
        from orchestrator.records import result_json
        from orchestrator.report.summary import run_summary
        from orchestrator.training import run_training

        made = make_plan(loaded)
        _announce(made)
        result = run_training(made, _progress_console())
        _print(output, lambda: result_json(result), lambda width: run_summary(result, width))


@app.command()
def sweep(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    output: OutputFormat = Format.TEXT,
    dry_run: DryRun = False,
) -> None:
    """Search over private runs; started again after a kill, it goes on."""
    with clear_errors():
        loaded = load_sweep(config, overrides)
        if _dry(loaded, dry_run):
            return
        from orchestrator.planning import make_plan
        from orchestrator.records import result_json
        from orchestrator.report.summary import sweep_summary
        from orchestrator.sweep import run_sweep

        made = make_plan(loaded)
        _announce(made)
        result = run_sweep(made, _progress_console())
        _print(output, lambda: result_json(result), lambda width: sweep_summary(result, loaded, width))


@app.command()
def audit(
    config: Annotated[Path | None, typer.Argument(help="File of a run or sweep; all methods without one.")] = None,
    overrides: Overrides = [],  # noqa: B006
    output: OutputFormat = Format.TEXT,
    runs: Annotated[int, typer.Option("--runs", help="Runs without the canary, and as many with it.")] = 5000,
    folder: Annotated[Path | None, typer.Option("--output", help="Folder for audit.json and plots.")] = None,
) -> None:
    """Test the claim on the code that makes it: clip, noise, and a guess whether one example took part."""
    with clear_errors():
        from orchestrator.audit.command import audit as run_audit
        from orchestrator.audit.command import audit_json
        from orchestrator.report.audit import audit_summary

        result = run_audit(config, overrides, runs, folder, _progress_console())
        _print(output, lambda: audit_json(result), lambda width: audit_summary(result, width))
        if result.violations:
            raise typer.Exit(VIOLATION_FOUND)


@data_app.command()
def preview(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    count: Annotated[int, typer.Option("--count", min=1, help="Examples to show.")] = 3,
) -> None:
    """Show prepared examples with their tokens, and how many prompts are cut. Private rows, for the operator alone."""
    with clear_errors():
        from orchestrator.report.preview import preview as make

        Console().print(make(load_run(config, overrides), count))


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can mend into one clear message and an exit code; anything else stays a traceback."""
    try:
        yield
    except BudgetExceeded as refusal:
        _say(f"Budget refused: {refusal}")
        raise typer.Exit(BUDGET_REFUSED) from None
    except (LedgerCorruptError, LedgerUnreachable) as refusal:
        _say(f"Ledger refused: {refusal}")
        raise typer.Exit(BUDGET_REFUSED) from None
    except ValueError as error:
        _say(f"Error: {error}")
        raise typer.Exit(BAD_CONFIGURATION) from None


def main() -> None:
    """Run the command line."""
    app()


def _dry(config: RunConfig, dry_run: bool) -> bool:
    if dry_run:
        sys.stdout.write(resolved_json(config))
    return dry_run


def _announce(made: Plan) -> None:
    """Show the plan on the error stream before it is carried out, so that standard output holds the result alone."""
    from orchestrator.report.summary import plan_summary

    console = _progress_console()
    console.print(plan_summary(made))
    console.print()


def _print_plan(made: Plan, output: Format) -> None:
    from orchestrator.report.summary import plan_summary

    _print(output, lambda: plan_json(made), lambda _: plan_summary(made))


def plan_json(made: Plan) -> str:
    """Return a plan as JSON; an infinite epsilon is null."""
    from orchestrator.planning import finite_or_none

    values = {
        "name": made.config.name,
        "private": made.rule is not None,
        "epsilon": finite_or_none(made.epsilon),
        "delta": made.config.privacy.delta,
        "trial_epsilon": finite_or_none(made.trial_epsilon),
        "num_trials": made.num_trials,
        "caps": made.caps.model_dump() if made.caps else None,
        "forward_passes": made.estimate.forward_passes,
        "examples_forwarded": made.estimate.examples_forwarded,
        "estimated_seconds": made.estimate.seconds,
    }
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _print(output: Format, as_json: Callable[[], str], as_text: Callable[[int], RenderableType]) -> None:
    if output is Format.JSON:
        sys.stdout.write(as_json())
    else:
        console = Console()
        console.print(as_text(console.width))


def _progress_console() -> Console:
    return Console(stderr=True)


def _say(message: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(message)
