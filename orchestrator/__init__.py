"""What is run, where, and what it costs: `from orchestrator import Budget, Sweep, plan, train`."""

from typing import TYPE_CHECKING, Any

from orchestrator.api import Sweep, plan, train
from orchestrator.config.errors import ConfigError
from orchestrator.config.models import SweepConfig
from trainers.errors import DpzoError

if TYPE_CHECKING:
    from orchestrator.budget.budget import Budget

__all__ = ["Budget", "ConfigError", "DpzoError", "Sweep", "SweepConfig", "plan", "train"]


def __getattr__(name: str) -> Any:
    """Load the ledger and the accountant when a budget is first asked for: they take seconds."""
    if name == "Budget":
        from orchestrator.budget.budget import Budget

        return Budget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
