"""What the doctor found, as a table that fits a terminal of 80 columns, and how to mend what failed."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.checks.doctor.findings import Diagnosis

MARKS = {"ok": ("✓", "green"), "failed": ("✗", "bold red"), "absent": ("–", "yellow")}


def doctor_summary(diagnosis: Diagnosis) -> RenderableType:
    """Return one row for each finding, hints below it, and the verdict."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=1)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in diagnosis.findings:
        mark, style = MARKS[finding.state]
        shown = Text(finding.found)
        if finding.hint:
            shown.append(f"\n→ {finding.hint}", style="italic")
        table.add_row(Text(mark, style=style), finding.name, shown)
    failed = [finding.name for finding in diagnosis.findings if finding.state == "failed"]
    verdict = f"Failed: {', '.join(failed)}." if failed else "Nothing failed."
    return Group(table, Padding(Text(verdict, style="bold red" if failed else "green"), (1, 0, 0, 0)))
