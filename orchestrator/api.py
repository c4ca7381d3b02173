"""The Python API: plan, train and sweep without the command line.

    from orchestrator import Sweep

    sweep = Sweep("examples/quickstart.yaml", ["search.num_trials=12"])
    print(sweep.plan().epsilon)      # known before any private row is read
    result = sweep.run()
    print(result.best.score, result.statement.text())

Importing this module loads neither torch nor Ray; `run` and `train` load them. Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.loading import load_run, load_sweep
from trainers.config import RunConfig

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan
    from orchestrator.storage.results import StoredRun, StoredSweep
    from orchestrator.sweep.monitor import Monitor

Source = str | Path | Mapping[str, Any] | RunConfig


class Sweep:
    """A search over private runs whose whole cost is in the reported epsilon.

    Args:
        source: a YAML or JSON file, a mapping, or a `SweepConfig`.
        overrides: "key=value" settings, as `--set` takes them.

    Raises:
        ConfigError: one line for each problem of the configuration.
    """

    def __init__(self, source: Source, overrides: Sequence[str] = ()) -> None:
        self.config = load_sweep(_mapping(source), overrides)
        self._plan: Plan | None = None

    def plan(self) -> Plan:
        """Return caps, noise, epsilon and work; computed once, before any private row is read.

        Raises:
            BudgetExceeded: the caps do not fit privacy.epsilon.
        """
        if self._plan is None:
            from orchestrator.budget.reuse import with_reused_tokens
            from orchestrator.planning.plan import make_plan

            self._plan = make_plan(with_reused_tokens(self.config))
        return self._plan

    def run(self, monitor: Monitor | None = None) -> StoredSweep:
        """Run all trials and export the best model; resume a sweep that was killed.

        Args:
            monitor: is told how the trials go.

        Raises:
            BudgetExceeded, ValueError: before anything is charged.
        """
        from orchestrator.sweep.driver import run_sweep
        from orchestrator.sweep.monitor import SILENT

        return run_sweep(self.plan(), monitor or SILENT)


def plan(source: Source, overrides: Sequence[str] = ()) -> Plan:
    """Return the plan of a sweep where the source has a `search` section, else of one run.

    Raises:
        ConfigError: one line for each problem of the configuration.
        BudgetExceeded: the plan does not fit privacy.epsilon.
    """
    from orchestrator.budget.reuse import with_reused_tokens
    from orchestrator.config.loading import read
    from orchestrator.planning.plan import make_plan

    settings = read(_mapping(source))
    config = load_sweep(settings, overrides) if "search" in settings else load_run(settings, overrides)
    return make_plan(with_reused_tokens(config))


def train(source: Source, overrides: Sequence[str] = (), monitor: Monitor | None = None) -> StoredRun:
    """Take one run to its end and export the model; resume a run that was killed.

    Args:
        source: as for `Sweep`; a `search` section is ignored.
        overrides: "key=value" settings, as `--set` takes them.
        monitor: is told how the run goes.

    Raises:
        ConfigError, BudgetExceeded, ValueError: before anything is charged.
    """
    from orchestrator.planning.plan import make_plan
    from orchestrator.sweep.monitor import SILENT
    from orchestrator.sweep.single_run import run_training

    return run_training(make_plan(load_run(_mapping(source), overrides)), monitor or SILENT)


def _mapping(source: Source) -> str | Path | Mapping[str, Any]:
    return source.model_dump() if isinstance(source, RunConfig) else source
