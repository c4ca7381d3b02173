"""The verbs for finished work: `dpzo report`, `compare` and `export`."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.errors import clear_errors
from orchestrator.cli.output import Format, OutputFormat, print_result
from orchestrator.views.console import progress_console
from trainers.config import EvaluatorName

Place = Annotated[
    str, typer.Argument(metavar="FOLDER|NAME", help="A finished run or sweep: its folder, or its name in runs/.")
]


@clear_errors()
def report(place: Place) -> None:
    """Write report.html into the folder of a finished run or sweep: one page, from released values alone."""
    from orchestrator.views.report.page import write_report

    with progress_console().status("drawing the figures"):
        path = write_report(place)
    _say(f"The report is in {path}.")


@clear_errors()
def compare(
    places: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Finished runs or sweeps: their folders, or names in runs/.")
    ],
    output: OutputFormat = Format.TEXT,
) -> None:
    """Show finished runs and sweeps of one task side by side: what each cost, and what it reached."""
    from orchestrator.views.report.comparison import compared, comparison_table

    rows = compared(places)
    print_result(output, rows, comparison_table(rows))


@clear_errors()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run or sweep.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="New or empty folder for the model.")],
    trial: Annotated[
        int | None, typer.Option("--trial", min=0, help="Number of the sweep's trial. Default: the best one.")
    ] = None,
    evaluator: Annotated[
        EvaluatorName | None,
        typer.Option("--evaluator", help="Evaluator that replays; each gives the same bits. Default: the run's."),
    ] = None,
) -> None:
    """Rebuild the model of a finished run or trial from its release log, without private data."""
    from orchestrator.sweep.export import export_model

    with progress_console().status("replaying the release log"):
        export_model(folder, to, trial, evaluator)
    progress_console().print(f"The model is in {to}.", highlight=False, markup=False, soft_wrap=True)


def _say(line: str) -> None:
    progress_console().print(line, highlight=False, markup=False, soft_wrap=True)
