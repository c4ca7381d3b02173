"""Plan, or take one run, in one call.

Importing this module loads neither torch nor Ray; `train` loads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.api.results import RunResult, as_result
from orchestrator.api.sweep import Source, listed, settings_of
from orchestrator.config.loading import Overrides, load_run, load_sweep

if TYPE_CHECKING:
    from orchestrator.api.progress import Progress
    from orchestrator.planning.plan import Plan
    from orchestrator.sweep.monitor import Monitor


def plan(source: Source = None, overrides: Overrides = (), **settings: Any) -> Plan:
    """Return the plan of a sweep where there is a `search` section, else of one run. Arguments are those of `Sweep`.

    Raises:
        ConfigError: one line for each problem of the configuration.
        BudgetExceeded: the plan does not fit privacy.epsilon.
    """
    from orchestrator.budget.reuse import with_reused_tokens
    from orchestrator.planning.plan import make_plan

    given = settings_of(source, settings)
    config = load_sweep(given, overrides) if "search" in given else load_run(given, overrides)
    return make_plan(with_reused_tokens(config))


def train(
    source: Source = None,
    overrides: Overrides = (),
    callbacks: Monitor | Sequence[Monitor] = (),
    progress: Progress = "auto",
    **settings: Any,
) -> RunResult:
    """Take one run to its end, export the model and write the report; resume a run that was killed.

    Args:
        source: as for `Sweep`; a `search` section is ignored.
        overrides: as for `Sweep`.
        callbacks, progress: as for `Sweep.run`.
        settings: as for `Sweep`; a name that begins with `on_` is a function, as for `Sweep.run`.

    Raises:
        ConfigError, BudgetExceeded, ValueError: before anything is charged.
    """
    from orchestrator.api.progress import progress_monitor
    from orchestrator.callbacks.guarded import guarded
    from orchestrator.planning.plan import make_plan
    from orchestrator.sweep.monitor import Monitors
    from orchestrator.sweep.single_run import run_training

    functions: dict[str, Callable[..., Any]] = {key: settings.pop(key) for key in list(settings) if key[:3] == "on_"}
    config = load_run(settings_of(source, settings), overrides)
    told = [guarded(each, False, as_result) for each in [*listed(callbacks), *([functions] if functions else [])]]
    result = as_result(run_training(make_plan(config), Monitors(progress_monitor(progress), *told)))
    assert isinstance(result, RunResult)
    result.write_report()
    return result
