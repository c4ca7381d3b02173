"""A sweep from Python.

from orchestrator import Sweep

sweep = Sweep("examples/quickstart.yaml", num_trials=12)
print(sweep.plan().epsilon)      # known before any private row is read
result = sweep.run()
print(result.best.score, result.statement.text())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from orchestrator.api.opening import opened
from orchestrator.api.results import SweepResult, as_result, load_result
from orchestrator.config.keywords import overrides_of
from orchestrator.config.loading import Overrides, load_sweep, override, read
from orchestrator.config.models import SweepConfig
from orchestrator.storage.existing import Existing, find_existing
from trainers.config import RunConfig

if TYPE_CHECKING:
    from pandas import DataFrame

    from orchestrator.api.progress import Progress
    from orchestrator.planning.plan import Plan
    from orchestrator.sweep.monitor import Monitor

Source = str | Path | Mapping[str, Any] | RunConfig | None


class Sweep:
    """A search over private runs whose whole cost is in the reported epsilon.

    Args:
        source: a YAML or JSON file, a mapping, a `SweepConfig`, or None where keywords say it all.
        overrides: "key=value" settings, as `--set` takes them, or a mapping from dotted keys to values.
        settings: sections, or keys that only one section has: `data={…}`, `epsilon=3`, `space={…}`.

    Raises:
        ConfigError: one line for each problem of the configuration.
    """

    def __init__(self, source: Source = None, overrides: Overrides = (), **settings: Any) -> None:
        self.config = load_sweep(settings_of(source, settings), overrides)
        self._plan: Plan | None = None
        self._stopping = Event()

    @classmethod
    def open(cls, folder: str | Path) -> Sweep:
        """Return the sweep in a folder, or of a name in `runs/`: `run` continues it, or returns its result.

        Raises:
            ValueError: there is none.
            ConfigError: another version wrote it, whose settings this one does not know.
        """
        config = opened(folder).config
        if not isinstance(config, SweepConfig):
            raise ValueError(f"{folder}: this is one run, not a sweep; load_result opens it")
        return cls(config)

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

    def run(
        self,
        callbacks: Monitor | Sequence[Monitor] = (),
        progress: Progress = "auto",
        **functions: Callable[..., Any],
    ) -> SweepResult:
        """Run all trials, export the best model and write the report; continue or return what was begun before.

        Args:
            callbacks: objects with methods of `Monitor`, such as the trackers of `orchestrator.callbacks`.
            progress: `bar`, `table` or `lines`; `auto` chooses for a terminal, a notebook or a log; False for nothing.
            functions: `on_start(facts)`, `on_trial_start(trial)`, `on_score(trial)`, `on_trial_end(trial)` and
                `on_end(result)`; `on_score` returns False to stop the trial. An error in one is logged, no more.

        Raises:
            BudgetExceeded, ValueError: before anything is charged.
            Stopped: `stop` was called. After it, as after Ctrl-C, `run` again continues.
        """
        from orchestrator.api.progress import progress_monitor
        from orchestrator.callbacks.guarded import guarded
        from orchestrator.storage.results import finished_result
        from orchestrator.sweep.driver import run_sweep
        from orchestrator.sweep.monitor import Monitors

        is_secret = self.config.search.release == "best"
        told = [guarded(each, is_secret, as_result) for each in listed(callbacks)]
        told += [guarded(functions, is_secret, as_result)] if functions else []
        shown = progress_monitor(progress)
        if finished_result(self.plan().config) is not None:
            result = load_result(self._existing().storage.folder)
        else:
            self._stopping.clear()
            result = as_result(run_sweep(self.plan(), Monitors(shown, *told), self._stopping))
            if isinstance(result, SweepResult) and result.best is not None:
                result.write_report()
        assert isinstance(result, SweepResult)
        return result

    def stop(self) -> None:
        """End a `run` of another thread where it is; it raises `Stopped` there, and `run` again continues."""
        self._stopping.set()

    def dataframe(self, long: bool = False) -> DataFrame:
        """Return the trials so far: a row a trial, or (`long`) a row a score.

        Raises:
            ValueError: the sweep has not begun.
            LedgerUnreachable: the database does not answer.
        """
        from orchestrator.api.views.frames import scores_frame, trials_frame
        from orchestrator.sweep.status import status_of

        trials = status_of(self._existing()).trials or ()
        return (scores_frame if long else trials_frame)(trials, self.config)

    def _existing(self) -> Existing:
        from orchestrator.storage.paths import storage_of, with_absolute_paths

        storage = storage_of(with_absolute_paths(self.config))
        if not storage.config_file.exists():
            raise ValueError(f"{self.config.name}: this sweep has not begun, so it has no trials; run() starts it")
        return find_existing(storage.place)

    def __repr__(self) -> str:
        search = self.config.search
        return f"Sweep {self.config.name!r}: {search.num_trials} trials over {', '.join(sorted(search.parameters))}"


def settings_of(source: Source, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source as a mapping, with keywords in place."""
    mapping = read(source.model_dump() if isinstance(source, RunConfig) else {} if source is None else source)
    return override(mapping, overrides_of(settings), SweepConfig)


def listed(callbacks: Any) -> list[Any]:
    """Return callbacks as a list, where one was given too."""
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
