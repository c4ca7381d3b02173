"""What is run, where, and what it costs: `from orchestrator import Sweep, plan, train`."""

from orchestrator.api import Sweep, plan, train
from orchestrator.config import ConfigError, SweepConfig

__all__ = ["ConfigError", "Sweep", "SweepConfig", "plan", "train"]
