"""The command line: `dpzo plan`, `train`, `sweep`, `resume`, `status`, `export`, `budget`, `audit`, `doctor`, `data`.

Exit codes: 0 done, 2 bad configuration or input, 3 the privacy budget or its ledger refuses, 4 an audit found a
violation; 1 anything else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import budget as budget_cli
from orchestrator.cli.output import Format, OutputFormat, clear_errors, print_result, progress_console
from orchestrator.config.loading import load_run, load_sweep, resolved_json
from orchestrator.config.models import SweepConfig
from trainers.config import EvaluatorName, RunConfig

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan

VIOLATION_FOUND = 4  # exit code of an audit

app = typer.Typer(
    help="Differentially private zeroth-order fine-tuning, with the search's cost in the reported epsilon.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # frames hold private rows
)
data_app = typer.Typer(help="Look at the data as a model will read it.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(budget_cli.app, name="budget")

ConfigFile = Annotated[Path, typer.Argument(help="YAML or JSON file; see examples/.", show_default=False)]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as method.num_steps=500.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")]


@app.command()
def plan(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    output: OutputFormat = Format.TEXT,
    within: Annotated[
        float | None, typer.Option("--within", metavar="EPSILON", help="What fits this ε; privacy.epsilon when absent.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="PNG or SVG file: ε against the number of trials.")
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Without what other rules would cost, which takes a while.")
    ] = False,
) -> None:
    """Show epsilon, noise and work, every rule side by side and what fits, before anything private is touched."""
    with clear_errors():
        from orchestrator.api import plan as make
        from orchestrator.cli.plan import show_plan

        show_plan(lambda: make(config, overrides), output, within, plot, brief)


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
        if not _dry(loaded, dry_run):
            _carry_out(loaded, output)


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
        if not _dry(loaded, dry_run):
            _carry_out(loaded, output)


@app.command()
def resume(
    place: Annotated[str, typer.Argument(metavar="FOLDER|NAME", help="Of a run or sweep.", show_default=False)],
    output: OutputFormat = Format.TEXT,
) -> None:
    """Go on with a killed run or sweep, by the configuration in its folder."""
    with clear_errors():
        from orchestrator.storage.existing import config_to_resume

        _carry_out(config_to_resume(place), output)


@app.command()
def status(
    place: Annotated[
        str, typer.Argument(metavar="[FOLDER|NAME]", help="Of a run, a sweep, or a storage folder with many.")
    ] = "runs",
    output: OutputFormat = Format.TEXT,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again until it ends, or Ctrl-C.")] = False,
) -> None:
    """Show how far runs and sweeps are, how fast, and what they spend; running, killed or finished."""
    with clear_errors():
        from orchestrator.cli.status import show_status

        show_status(place, output, watch)


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
        from orchestrator.cli.audit import audit as run_audit
        from orchestrator.cli.audit import audit_json
        from orchestrator.cli.views.audit import audit_summary

        result = run_audit(config, overrides, runs, folder, progress_console())
        print_result(output, lambda: audit_json(result), lambda width: audit_summary(result, width))
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
        from orchestrator.cli.views.preview import preview as make

        print_result(Format.TEXT, str, lambda _: make(load_run(config, overrides), count))


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Argument(help="File of a run or sweep; a small model without one.")] = None,
    overrides: Overrides = [],  # noqa: B006
    output: OutputFormat = Format.TEXT,
) -> None:
    """Look at versions, devices, Ray and the evaluators on made-up examples, and say how to mend what fails."""
    with clear_errors():
        from orchestrator.checks.doctor.doctor import FAILED, diagnose
        from orchestrator.cli.views.doctor import doctor_summary

        with progress_console().status("looking at versions, devices, Ray and the evaluators"):
            diagnosis = diagnose(config, overrides)
        print_result(output, lambda: diagnosis.model_dump_json(indent=2) + "\n", lambda _: doctor_summary(diagnosis))
        if not diagnosis.is_healthy:
            raise typer.Exit(FAILED)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run or sweep.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="New or empty folder for the model.")],
    trial: Annotated[int | None, typer.Option("--trial", min=0, help="Of a sweep; the best one when absent.")] = None,
    evaluator: Annotated[
        EvaluatorName | None, typer.Option("--evaluator", help="What replays, to the same bits; the run's own.")
    ] = None,
) -> None:
    """Rebuild the model of a released trial from its release log; touches no private data."""
    with clear_errors():
        from orchestrator.sweep.export import export as rebuild

        with progress_console().status("replaying the release log"):
            rebuild(folder, to, trial, evaluator)
        progress_console().print(f"The model is in {to}.", highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    app()


def _dry(config: RunConfig, dry_run: bool) -> bool:
    if dry_run:
        sys.stdout.write(resolved_json(config))
    return dry_run


def _carry_out(config: RunConfig, output: Format) -> None:
    """Plan a run or sweep, say so, take it to its end, and print the result."""
    from orchestrator.cli.views.live import LiveView
    from orchestrator.cli.views.summary import run_summary, sweep_summary
    from orchestrator.planning.plan import make_plan
    from orchestrator.storage.results import result_json

    made = make_plan(config)
    _announce(made)
    if isinstance(config, SweepConfig):
        from orchestrator.sweep.driver import run_sweep

        result = run_sweep(made, LiveView(progress_console()))
        print_result(output, lambda: result_json(result), lambda width: sweep_summary(result, config, width))
    else:
        from orchestrator.sweep.single_run import run_training

        done = run_training(made, LiveView(progress_console()))
        print_result(output, lambda: result_json(done), lambda width: run_summary(done, width, config.metric))


def _announce(made: Plan) -> None:
    """Show the plan on the error stream before it is carried out, so that standard output holds the result alone."""
    from orchestrator.cli.views.summary import plan_summary

    console = progress_console()
    console.print(plan_summary(made))
    console.print()
