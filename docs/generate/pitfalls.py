"""The index of the pitfalls by severity, from the headings of their page."""

from __future__ import annotations

import re

SEVERITIES = ("Critical", "Major", "Minor")


def pitfalls_by_severity(page: str) -> str:
    """Return a list of links for each severity; ValueError for a pitfall without one."""
    found: dict[str, list[str]] = {severity: [] for severity in SEVERITIES}
    for heading, first in re.findall(r"^### (.+)\n(.*)", page, flags=re.MULTILINE):
        severity = next((name for name in SEVERITIES if first.startswith(f"**{name}.**")), None)
        if severity is None:
            raise ValueError(f"docs/pitfalls.md: {heading!r} must begin with **Critical.**, **Major.** or **Minor.**")
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        found[severity].append(f"[{heading}](#{anchor})")
    return "\n".join(f"- **{severity}** ({len(links)}): {', '.join(links)}" for severity, links in found.items())
