"""The verbs for finished work: `dpzo report`, `compare`, `evaluate`, `attack`, `refine` and `export`."""

# ruff: noqa: B006 - typer reads the default of a list and never changes it

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
TrialNumber = Annotated[
    int | None, typer.Option("--trial", min=0, help="Number of the sweep's trial. Default: the best one.")
]
BaseModel = Annotated[
    str | None, typer.Option("--model", help="Where the base model lies now. Default: where the run found it.")
]


@clear_errors()
def report(
    place: Place,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Write each figure into this folder too, as SVG and PNG.")
    ] = None,
) -> None:
    """Write report.html into the folder of a finished run or sweep: one page, from released values alone."""
    from orchestrator.api.views.report.page import write_figures, write_report

    with progress_console().status("drawing the figures"):
        path = write_report(place)
        written = [] if figures is None else write_figures(place, figures)
    _say(f"The report is in {path}.")
    if figures is not None:
        _say(f"{len(written)} figures are in {figures}.")


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
def attack(
    place: Place,
    data: Annotated[str, typer.Option("--data", help="Rows of the same kind that were never trained on.")],
    rows: Annotated[int, typer.Option("--rows", min=1, help="Most rows of either kind that are compared.")] = 1000,
    output: OutputFormat = Format.TEXT,
) -> None:
    """Attack the model of a finished run or sweep with the private rows themselves. The result is for the operator."""
    from orchestrator.api.views.attacked import attacked_view
    from orchestrator.sweep.membership_attack import attack as attacked

    with progress_console().status("reading the losses of both models"):
        found, path = attacked(place, data, rows)
    print_result(output, found.model_dump(), attacked_view(found))
    _say(f"It is in {path}. Keep it there: no ε counts it.")


@clear_errors()
def refine(
    place: Place,
    data: Annotated[str, typer.Option("--data", help="A PUBLIC file of the task, on which the best is chosen.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="New or empty folder for the model. Default: none is written.")
    ] = None,
    trial: TrialNumber = None,
    averages: Annotated[
        list[str],
        typer.Option("--average", help="A share of the last steps, such as last-20%, or none; may be repeated."),
    ] = [],
    scales: Annotated[
        list[float], typer.Option("--scale", help="A scale of the way from the base model; may be repeated.")
    ] = [],
    base: BaseModel = None,
    output: OutputFormat = Format.TEXT,
) -> None:
    """Choose averages of late iterates and a scale of a finished run on PUBLIC rows: a better model for 0 ε."""
    from orchestrator.api.views.refined import refined_view
    from orchestrator.sweep.post_processing import PostProcessing
    from orchestrator.sweep.refinement import AVERAGES, SCALES
    from orchestrator.sweep.refinement import refine as refined

    asked = [PostProcessing.of(average, None) for average in averages]
    shares = [change and change.last_percent for change in asked] or AVERAGES
    for scale in scales:
        PostProcessing.of(None, scale)  # refuses what is no scale
    with progress_console().status("replaying the release log and scoring what it allows"):
        found = refined(place, data, to, trial=trial, averages=shares, scales=scales or SCALES, base=base)
    print_result(output, found, refined_view(found))
    if to is not None:
        _say(f"The model is in {to}.")


@clear_errors()
def export(
    folder: Annotated[
        str,
        typer.Argument(
            help="Folder or URL of a finished run or sweep, or with --from-log of its log.", show_default=False
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="New or empty folder for the model.")],
    trial: TrialNumber = None,
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
    base: BaseModel = None,
    from_log: Annotated[
        bool, typer.Option("--from-log", help="The folder was written by --format log, perhaps on another machine.")
    ] = False,
    average: Annotated[
        str | None, typer.Option("--average", help="The mean over a share of the last steps, such as last-20%.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", help="Scale the way from the base model, such as 1.1.")
    ] = None,
    repository: Annotated[
        str | None,
        typer.Option("--push-to-hub", metavar="ME/NAME", help="Upload the folder too; a new repository is private."),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", help="File of `dpzo attack` to show in the card. It comes from private rows."),
    ] = None,
) -> None:
    """Rebuild the model of a finished run or trial, with its privacy card, from its release log: no private data."""
    from orchestrator.sweep.export import export_model
    from orchestrator.sweep.hub import push_to_hub, require_hub
    from orchestrator.sweep.log_export import rebuild_exported
    from orchestrator.sweep.membership_attack import read_evidence
    from orchestrator.sweep.post_processing import PostProcessing

    if from_log and any(given is not None for given in (trial, form, evaluator, average, scale, evidence)):
        raise ValueError("--from-log rebuilds the one model of a log: give --to and --model alone")
    change, shown = PostProcessing.of(average, scale), None if evidence is None else read_evidence(evidence)
    if repository is not None:
        require_hub(repository)
    with progress_console().status("replaying the release log"):
        if from_log:
            rebuild_exported(Path(folder), to, base)
        else:
            export_model(folder, to, trial, evaluator, form, base, change, evidence=shown)
    _say(f"The {'release log' if form == 'log' else 'model'} is in {to}.")
    if repository is not None:
        with progress_console().status("uploading it"):
            address = push_to_hub(to, repository)
        _say(f"It is at {address}.")


def _say(line: str) -> None:
    progress_console().print(line, highlight=False, markup=False, soft_wrap=True)
