"""What `dpzo train`, `sweep` and `resume` do: show the plan, carry it out, print the result."""

import os
import sys
from pathlib import Path

from orchestrator.api.views.console import progress_console
from orchestrator.cli.interruption import work_on
from orchestrator.cli.output import Format, print_result
from orchestrator.config.loading import resolved_json
from orchestrator.config.models import SweepConfig
from trainers.config import RunConfig
from trainers.mechanism.release_log import Stopped


def work(config: RunConfig, output: Format, insecure: bool, dry_run: bool = False) -> None:
    """Show the plan on the error stream, carry it out, and print the result."""
    if insecure:
        os.environ["DPZO_INSECURE"] = "1"
    if dry_run:
        sys.stdout.write(resolved_json(config))
        return
    work_on(config)
    from orchestrator.api.views.lines import Lines
    from orchestrator.api.views.live import LiveView
    from orchestrator.api.views.summary import plan_summary, run_summary, sweep_summary
    from orchestrator.planning.plan import make_plan

    console = progress_console()
    made = make_plan(config)
    console.print(plan_summary(made))
    console.print()
    monitor = LiveView(console) if console.is_terminal else Lines(console)
    if isinstance(config, SweepConfig):
        from orchestrator.sweep.driver import run_sweep

        result = run_sweep(made, monitor)
        print_result(output, result, sweep_summary(result, config))
        if result.best is None:
            raise Stopped("no trial finished, so there is no model; what was drawn stays charged.")
        _report(result.folder)
    else:
        from orchestrator.sweep.single_run import run_training

        done = run_training(made, monitor)
        print_result(output, done, run_summary(done, config.metric))
        _report(done.folder)


def _report(folder: Path) -> None:
    from orchestrator.api.views.report.page import write_report

    console = progress_console()
    with console.status("drawing the figures of the report"):
        path = write_report(folder)
    console.print(f"The report is in {path}.", highlight=False, markup=False, soft_wrap=True)


def show_finished(config: RunConfig, output: Format) -> bool:
    """Print the results of a sweep that is finished; return False where it is not."""
    from rich.text import Text

    from orchestrator.storage.results import finished_result

    finished = finished_result(config)
    if finished is not None:
        result, statement = finished
        print_result(output, result, Text(statement.text()))
    return finished is not None
