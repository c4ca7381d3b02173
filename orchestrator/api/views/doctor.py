"""The findings of `dpzo doctor` on a terminal, and how to fix what failed."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from orchestrator.checks.doctor.findings import Diagnosis

MARKS = {"ok": ("✓", "green"), "failed": ("✗", "bold red"), "absent": ("–", "yellow")}


def doctor_summary(diagnosis: Diagnosis) -> RenderableType:
    """Return one row a finding with its hint, and the verdict."""
    columns = Column(width=1), Column(style="bold", no_wrap=True), Column(overflow="fold")
    table = Table(*columns, box=None, show_header=False, pad_edge=False)
    for finding in diagnosis.findings:
        mark, style = MARKS[finding.state]
        shown = Text(finding.found)
        if finding.hint:
            shown.append(f"\n→ {finding.hint}", style="italic")
        table.add_row(Text(mark, style=style), finding.name, shown)
    failed = [finding.name for finding in diagnosis.findings if finding.state == "failed"]
    verdict = f"Failed: {', '.join(failed)}." if failed else "Nothing failed."
    return Group(table, Padding(Text(verdict, style="bold red" if failed else "green"), (1, 0, 0, 0)))
