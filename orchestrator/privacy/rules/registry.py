"""The rules of accounting by name: what a ledger stores as JSON becomes a rule again, and its ε is recomputed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from orchestrator.privacy.rules.base import CostRule
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.menu import Menu
from orchestrator.privacy.rules.renyi_filter import RenyiFilter

Rule = Annotated[SweepCaps | Menu | RenyiFilter | BestOf, Field(discriminator="rule")]

_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


def rule_from_json(mapping: Mapping[str, Any]) -> CostRule:
    """Return the rule that `to_json` wrote; its field `rule` says which of caps, menu, filter and best it is.

    Raises:
        pydantic.ValidationError: a ValueError: the rule is unknown, or a field is missing, unknown or out of range.
    """
    return _RULE.validate_python(dict(mapping))
