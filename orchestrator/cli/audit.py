"""`dpzo audit`: choose the cases, show a progress bar, and write the result into a folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator.api.runs import plan
from orchestrator.api.views.console import progress_console
from orchestrator.api.views.live import steps_bar
from orchestrator.checks.audit.cases import catalogue_cases, catalogue_gradients, claims_of
from orchestrator.checks.audit.result import AuditResult
from orchestrator.checks.audit.runner import MOST_JOBS, run_audit, total_steps
from orchestrator.cli.output import as_json

JSON_NAME, PLOT_NAMES = "audit.json", ("audit.png", "audit.svg")
LEAST_RUNS = 20


def audit(config: Path | None, overrides: Sequence[str], runs: int, folder: Path | None) -> AuditResult:
    """Audit the method of a configuration, or without one all private methods, and write the result into `folder`.

    Raises:
        ValueError: too few runs, a configuration that cannot be read, or a method without privacy.
    """
    if runs < LEAST_RUNS:
        raise ValueError(f"--runs must be at least {LEAST_RUNS}, not {runs}; 5000 find noise at 0.8 of the claimed.")
    if config is None and overrides:
        raise ValueError("--set changes a configuration, and none is given. Name its file, or leave --set out.")
    if config is None:
        cases, gradients = catalogue_cases(), catalogue_gradients()
    else:
        cases, gradients = claims_of(plan(config, overrides), runs)
    with steps_bar(progress_console()) as bar:
        task = bar.add_task("audit", total=total_steps(cases, runs))

        def show(label: str, steps: int) -> None:
            bar.update(task, description=label, advance=steps)

        result = run_audit(cases, gradients, runs=runs, jobs=min(MOST_JOBS, os.cpu_count() or 1), on_steps=show)
    if folder is not None:
        _write(result, folder)
    return result


def _write(result: AuditResult, folder: Path) -> None:
    from orchestrator.api.views.audit import save_plot

    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON_NAME).write_text(as_json(result), encoding="utf-8")
    for name in PLOT_NAMES if result.cases else ():
        save_plot(result, folder / name)
