"""The verbs for finished work: `dpzo report`, `compare`, `evaluate` and `export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.api.views.console import progress_console
from orchestrator.cli.errors import clear_errors
from orchestrator.cli.output import Format, OutputFormat, print_result
from trainers.config import EvaluatorName

ExportFormat = Literal["hf", "peft", "merged", "log"]
Place = Annotated[
    str, typer.Argument(metavar="FOLDER|NAME", help="A finished run or sweep: its folder, or its name in runs/.")
]


@clear_errors()
def report(place: Place) -> None:
    """Write report.html into the folder of a finished run or sweep: one page, from released values alone."""
    from orchestrator.api.views.report.page import write_report

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
    from orchestrator.api.views.report.comparison import compared, comparison_table

    rows = compared(places)
    print_result(output, rows, comparison_table(rows))


@clear_errors()
def evaluate(
    place: Place,
    data: Annotated[
        str | None, typer.Option("--data", help="A PUBLIC file of the task. Default: the run's public validation rows.")
    ] = None,
    output: OutputFormat = Format.TEXT,
) -> None:
    """Score the model of a finished run or sweep on public rows. Rows that the ledger protects are refused."""
    from orchestrator.sweep.evaluation import evaluate as scores_of

    with progress_console().status("loading the model and scoring it"):
        found = scores_of(place, data)
    print_result(output, found, "\n".join(f"{name}: {value}" for name, value in found.items()))


@clear_errors()
def export(
    folder: Annotated[
        str,
        typer.Argument(
            help="Folder or URL of a finished run or sweep, or with --from-log of its log.", show_default=False
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="New or empty folder for the model.")],
    trial: Annotated[
        int | None, typer.Option("--trial", min=0, help="Number of the sweep's trial. Default: the best one.")
    ] = None,
    evaluator: Annotated[
        EvaluatorName | None,
        typer.Option("--evaluator", help="Evaluator that replays; each gives the same bits. Default: the run's."),
    ] = None,
    form: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format", help="A whole model, an adapter, a whole model with its adapter added, or the log alone."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--model", help="Where the base model lies now. Default: where the run found it.")
    ] = None,
    from_log: Annotated[
        bool, typer.Option("--from-log", help="The folder was written by --format log, perhaps on another machine.")
    ] = False,
) -> None:
    """Rebuild the model of a finished run or trial, with its privacy card, from its release log: no private data."""
    from orchestrator.sweep.export import export_model, require_empty
    from orchestrator.sweep.log_export import rebuild_exported

    if from_log and (trial is not None or form is not None or evaluator is not None):
        raise ValueError("--from-log rebuilds the one model of a log: leave out --trial, --format and --evaluator")
    with progress_console().status("replaying the release log"):
        if from_log:
            require_empty(to)
            rebuild_exported(Path(folder), to, base)
        else:
            export_model(folder, to, trial, evaluator, form, base)
    _say(f"The {'release log' if form == 'log' else 'model'} is in {to}.")


def _say(line: str) -> None:
    progress_console().print(line, highlight=False, markup=False, soft_wrap=True)
