"""The command line: every verb of `dpzo` and its flags.

Exit codes: 0 done, 2 bad configuration or input, 3 the privacy budget or its ledger refuses, 4 an audit found a
violation, 128 + n ended by signal n; 1 anything else. A verb imports what it needs when it runs, so that help and
errors appear at once.
"""

# ruff: noqa: B006 - typer reads the default of a list and never changes it

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.api.views.console import progress_console
from orchestrator.cli import budget as budget_cli
from orchestrator.cli import results
from orchestrator.cli.errors import clear_errors, show_tracebacks
from orchestrator.cli.interruption import end_at_signals
from orchestrator.cli.output import Format, OutputFormat, encode_all_output, print_result, print_text
from orchestrator.cli.start import verbs as start
from orchestrator.config.loading import load_run, load_sweep

CHECK_FAILED, VIOLATION_FOUND = 1, 4  # exit codes of `doctor` and `audit`

app = typer.Typer(
    help="Differentially private zeroth-order fine-tuning. The reported epsilon covers the whole search.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_show_locals=False,  # local variables hold private rows
)
data_app = typer.Typer(help="Show the data as the model reads it.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(budget_cli.app, name="budget")
for verb in (start.init, start.demo, start.schema):
    app.command()(verb)
for verb in (results.report, results.compare, results.evaluate, results.attack, results.refine, results.export):
    app.command()(verb)

ConfigFile = Annotated[
    Path, typer.Argument(help="Configuration file (YAML or JSON); see examples/.", show_default=False)
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as method.num_steps=500.")
]
AcknowledgeOverlap = Annotated[
    bool,
    typer.Option("--acknowledge-overlap", help="Accept private rows that another budget protects too; they pay both."),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Use a Ray cluster that asks for no token: whoever reaches it reads the data."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from orchestrator.config.version import version_of

        typer.echo(f"dpzo {version_of('dpzo')}")
        raise typer.Exit


@app.callback()
def every_verb(
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an unexpected error.")] = False,
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options of all verbs."""
    show_tracebacks(debug)


@app.command()
@clear_errors()
def plan(
    config: ConfigFile,
    overrides: Overrides = [],
    output: OutputFormat = Format.TEXT,
    within: Annotated[
        float | None,
        typer.Option("--within", metavar="EPSILON", help="Show what fits this ε. Default: privacy.epsilon."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Plot ε against the number of trials into this PNG or SVG file.")
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Leave out what other rules would cost: it takes some seconds.")
    ] = False,
) -> None:
    """Show ε, noise and work of a run or sweep, and the ε of every rule that could count it. Reads no private row."""
    from orchestrator.cli.plan import show_plan

    show_plan(config, overrides, output, within, plot, brief)


@app.command()
@clear_errors()
def train(
    config: ConfigFile,
    overrides: Overrides = [],
    output: OutputFormat = Format.TEXT,
    dry_run: DryRun = False,
    insecure: Insecure = False,
    acknowledge_overlap: AcknowledgeOverlap = False,
) -> None:
    """Train one private run. After a kill, the same command resumes it."""
    if acknowledge_overlap:
        overrides = [*overrides, "budget.acknowledge_overlap=true"]
    from orchestrator.cli.work import work

    work(load_run(config, overrides), output, insecure, dry_run)


@app.command()
@clear_errors()
def sweep(
    config: ConfigFile,
    overrides: Overrides = [],
    output: OutputFormat = Format.TEXT,
    dry_run: DryRun = False,
    insecure: Insecure = False,
    or_resume: Annotated[
        bool, typer.Option("--or-resume", help="Where the sweep is finished, show its statement: for jobs that retry.")
    ] = False,
    acknowledge_overlap: AcknowledgeOverlap = False,
) -> None:
    """Search over private runs under one total ε. After a kill, the same command resumes it."""
    if acknowledge_overlap:
        overrides = [*overrides, "budget.acknowledge_overlap=true"]
    loaded = load_sweep(config, overrides)
    from orchestrator.budget.reuse import with_reused_tokens
    from orchestrator.cli.work import show_finished, work

    loaded = with_reused_tokens(loaded)
    if or_resume and not dry_run and show_finished(loaded, output):
        return
    work(loaded, output, insecure, dry_run)


@app.command()
@clear_errors()
def resume(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|NAME", help="A run or sweep: its folder, or its name in runs/.", show_default=False
        ),
    ],
    output: OutputFormat = Format.TEXT,
    insecure: Insecure = False,
) -> None:
    """Resume a killed run or sweep, with the configuration in its folder."""
    from orchestrator.cli.work import work
    from orchestrator.storage.existing import config_to_resume

    work(config_to_resume(place), output, insecure)


@app.command()
@clear_errors()
def status(
    place: Annotated[
        str,
        typer.Argument(metavar="FOLDER|NAME", help="A run or sweep, or a storage folder that holds several."),
    ] = "runs",
    output: OutputFormat = Format.TEXT,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until the work ends, or until Ctrl-C.")] = False,
) -> None:
    """Show the progress, the speed and the privacy spending of runs and sweeps, whether running, killed or finished."""
    from orchestrator.cli.status import show_status

    show_status(place, output, watch)


@app.command()
@clear_errors()
def dashboard(
    place: Annotated[
        str,
        typer.Argument(metavar="FOLDER|NAME", help="A run or sweep, or a storage folder that holds several."),
    ] = "runs",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On this machine; 0 takes a free one.")] = 8275,
    for_operator: Annotated[
        bool, typer.Option("--operator", help="Show also what is not released: the progress of steps, secret trials.")
    ] = False,
    in_ray: Annotated[
        bool, typer.Option("--in-ray", help="Let the Metrics tab of Ray's dashboard show the page.")
    ] = False,
) -> None:
    """Serve a page that shows runs and sweeps live in a browser, without Ray, and prints its address."""
    from orchestrator.cli.dashboard.serve import serve_dashboard

    serve_dashboard(place, port, for_operator=for_operator, in_ray=in_ray)


@app.command()
@clear_errors()
def audit(
    config: Annotated[
        Path | None, typer.Argument(help="Configuration file of a run or sweep. Default: all private methods.")
    ] = None,
    overrides: Overrides = [],
    output: OutputFormat = Format.TEXT,
    runs: Annotated[
        int, typer.Option("--runs", help="Number of runs without the canary (a known example), and of runs with it.")
    ] = 5000,
    folder: Annotated[Path | None, typer.Option("--output", help="Write audit.json and plots here.")] = None,
) -> None:
    """Test the privacy claim on the code itself: the clip, the noise, and whether one example can be recognised."""
    from orchestrator.api.views.audit import audit_summary
    from orchestrator.cli.audit import audit as run_audit

    result = run_audit(config, overrides, runs, folder)
    print_result(output, result, audit_summary(result))
    if result.violations:
        raise typer.Exit(VIOLATION_FOUND)


@data_app.command()
@clear_errors()
def preview(
    config: ConfigFile,
    overrides: Overrides = [],
    count: Annotated[int, typer.Option("--count", min=1, help="Number of examples to show.")] = 3,
) -> None:
    """Show prepared examples with their tokens, and how many prompts are cut. Prints private rows: keep them secret."""
    from orchestrator.api.views.preview import preview as view

    print_text(view(load_run(config, overrides), count))


@app.command()
@clear_errors()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="Configuration file whose model is checked. Default: a small random model.")
    ] = None,
    overrides: Overrides = [],
    output: OutputFormat = Format.TEXT,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Check the Ray cluster at RAY_ADDRESS, node by node, for this configuration."),
    ] = False,
) -> None:
    """Check versions, devices, Ray and the evaluators on generated examples, and say how to fix what fails."""
    from orchestrator.api.views.doctor import doctor_summary

    if cluster:
        from orchestrator.checks.doctor.cluster import diagnose_cluster as diagnose

        what = "checking the nodes of the cluster"
    else:
        from orchestrator.checks.doctor.doctor import diagnose

        what = "checking versions, devices, Ray and the evaluators"
    with progress_console().status(what):
        diagnosis = diagnose(config, overrides)
    print_result(output, diagnosis, doctor_summary(diagnosis))
    if not diagnosis.is_healthy:
        raise typer.Exit(CHECK_FAILED)


def main() -> None:
    """Run the command line. It asks nothing: a library that would ask finds the end of its input."""
    end_at_signals()
    encode_all_output()
    with open(os.devnull) as nothing:
        sys.stdin = nothing
        app()
