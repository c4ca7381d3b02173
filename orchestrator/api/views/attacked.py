"""What `dpzo attack` shows: how far an attack got, beside a guess and beside what the claim allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.api.views.tables import plain_table, right

if TYPE_CHECKING:
    from orchestrator.privacy.statement.card import Evidence


def attacked_view(found: Evidence) -> RenderableType:
    """Return a table of the attack, a guess and the claim, and what follows."""
    share = f"members found where {found.false_positive_rate:.1%} of others are"
    table = plain_table("", *right("AUC", "found"))
    table.add_row("this attack", f"{found.auc:.3f}", f"{found.true_positive_rate:.1%}")
    table.add_row("a guess", "0.500", f"{found.false_positive_rate:.1%}")
    table.add_row("most that the claim allows", "", f"{found.bound:.1%}")
    refuted = found.true_positive_rate > found.bound
    said = "More than the claim allows: look for a leak." if refuted else "Within the claim."
    lines = [
        f"{found.members:,} members and {found.non_members:,} others, by the {found.attack}; found: {share}.",
        f"{said} An attack can refute a claim. It can never prove it.",
    ]
    return Group(table, *map(Text, lines))
