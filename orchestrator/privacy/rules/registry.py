"""The rules by name: what a ledger stores as JSON becomes a rule again, and its ε is computed anew."""

from collections.abc import Mapping
from typing import Any

from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.renyi_filter import RenyiFilter

RULES: dict[str, type[CostRule]] = {"caps": SweepCaps, "menu": Menu, "filter": RenyiFilter, "best": BestOf}


def rule_from_json(mapping: Mapping[str, Any]) -> CostRule:
    """Return the rule that `to_json` wrote, by its field `rule`; ValueError for an unknown rule or an invalid field."""
    name = mapping.get("rule")
    if not isinstance(name, str) or name not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}; got {name!r}.")
    return RULES[name].model_validate(dict(mapping))


def title_of(mapping: Mapping[str, Any]) -> str:
    """Return the title of a stored rule, or as it is what the field `rule` holds where that is no rule."""
    try:
        return rule_from_json(mapping).title
    except ValueError:
        return str(mapping.get("rule", "none stored"))
