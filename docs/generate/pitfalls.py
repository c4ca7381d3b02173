"""The index of the pitfalls by severity, from the headings of their page."""

from __future__ import annotations

import re

SEVERITIES = ("Critical", "Major", "Minor")


def pitfalls_by_severity(page: str) -> str:
    """Return a list of links, by severity and section of the page; ValueError for a pitfall without a severity."""
    links: dict[str, dict[str, list[str]]] = {severity: {} for severity in SEVERITIES}
    for section, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL):
        for heading, first in re.findall(r"^### (.+)\n(.*)", text, flags=re.MULTILINE):
            links[_severity(heading, first)].setdefault(section, []).append(_link(heading))
    lines = []
    for severity, sections in links.items():
        lines.append(f"- **{severity}**, {sum(map(len, sections.values()))}")
        lines += [f"    - *{section}:* {' · '.join(found)}" for section, found in sections.items()]
    return "\n".join(lines)


def _severity(heading: str, first: str) -> str:
    for severity in SEVERITIES:
        if first.startswith(f"**{severity}.**"):
            return severity
    raise ValueError(f"docs/pitfalls.md: {heading!r} must begin with **Critical.**, **Major.** or **Minor.**")


def _link(heading: str) -> str:
    anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
    return f"[{heading}](#{anchor})"
