"""What a run or a sweep will cost in privacy and in work, known before anything private is touched."""

from orchestrator.planning.rules.base import Plan
from orchestrator.planning.rules.best_of import BestOfPlan
from orchestrator.planning.rules.caps import CapsPlan
from orchestrator.planning.rules.filter import FilterPlan
from orchestrator.planning.rules.menu import MenuPlan
from orchestrator.planning.rules.not_private import NotPrivatePlan
from orchestrator.planning.rules.public_tuning import PublicTuningPlan
from trainers.config import RunConfig

__all__ = ["PLANS", "Plan", "make_plan"]

PLANS: tuple[type[Plan], ...] = (NotPrivatePlan, PublicTuningPlan, BestOfPlan, MenuPlan, FilterPlan, CapsPlan)
"""The rules: the first one that counts a configuration makes its plan."""


def make_plan(config: RunConfig) -> Plan:
    """Return the plan of a configuration, with σ calibrated where it is not given.

    Raises:
        BudgetExceeded: the given σ, or any σ, costs more than privacy.epsilon; the message says what would fit.
        ValueError: no rule counts the configuration.
    """
    kind = next((kind for kind in PLANS if kind.counts(config)), None)
    if kind is None:
        raise ValueError("search: no rule counts this configuration, so nothing vouches for its ε")
    return kind.make(config)
