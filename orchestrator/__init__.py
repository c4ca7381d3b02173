"""What is run, where, and what it costs: `from orchestrator import Budget, Sweep, plan, train`.

Each name is loaded when it is first asked for: the ledger and the accountant take seconds, and the privacy core
(`orchestrator.privacy`) can be imported without anything else of this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api.results import RunResult, SweepResult, load_result
    from orchestrator.api.runs import plan, train
    from orchestrator.api.sweep import Sweep
    from orchestrator.budget.budget import Budget
    from orchestrator.config.errors import ConfigError
    from orchestrator.config.models import SweepConfig
    from trainers.errors import DpzoError

__all__ = [
    "Budget",
    "ConfigError",
    "DpzoError",
    "RunResult",
    "Sweep",
    "SweepConfig",
    "SweepResult",
    "load_result",
    "plan",
    "train",
]

_MODULES = {
    "Budget": "orchestrator.budget.budget",
    "ConfigError": "orchestrator.config.errors",
    "DpzoError": "trainers.errors",
    "RunResult": "orchestrator.api.results",
    "Sweep": "orchestrator.api.sweep",
    "SweepConfig": "orchestrator.config.models",
    "SweepResult": "orchestrator.api.results",
    "load_result": "orchestrator.api.results",
    "plan": "orchestrator.api.runs",
    "train": "orchestrator.api.runs",
}


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
