"""What mkdocs does with a page before it is rendered: fill in what is generated, and lead links to where files lie.

`<!-- generated: NAME -->` in a page is replaced by what `GENERATED` makes of NAME. Pages from outside docs/ (`ADDED`)
become pages of the site. A file outside docs/ that a page links to is copied into the site.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from posixpath import normpath, relpath
from typing import TYPE_CHECKING

from docs.generate.configuration import configuration_reference
from docs.generate.methods import method_frame, methods_table
from docs.generate.pitfalls import pitfalls_by_severity
from docs.generate.verbs import exit_codes_reference, verbs_reference
from trainers.methods.catalogue import METHODS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ADDED = {
    f"{page}.md": source
    for page, source in {
        "changelog": "CHANGELOG.md",
        "contributing": "CONTRIBUTING.md",
        "benchmarks": "benchmarks/README.md",
        "demo": "examples/demo/README.md",
    }.items()
}
"""Pages of the site that lie elsewhere: their place in the site, and in the repository."""

GENERATED: dict[str, Callable[[str], str]] = {
    "configuration": lambda page: configuration_reference(),
    "verbs": lambda page: verbs_reference(),
    "exit codes": lambda page: exit_codes_reference(),
    "methods": lambda page: methods_table(),
    "pitfalls by severity": pitfalls_by_severity,
    **{f"method {name}": lambda page, name=name: method_frame(name) for name in METHODS},
}
_MARK = re.compile(r"<!-- generated: (.+?) -->")
_PART_OF_A_PITFALL = re.compile(r"\n(\*\*(?:Here|Test)\*\* )")  # begins a line of its own
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    from mkdocs.structure.files import File

    for place, source in ADDED.items():
        files.append(File.generated(config, place, content=Path(source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with what is generated, and with links that lead to where files lie in the site."""
    place = page.file.src_uri
    filled = _MARK.sub(lambda mark: GENERATED[mark[1]](markdown), markdown)
    filled = _PART_OF_A_PITFALL.sub(r"<br>\n\1", filled)
    return relinked(filled, ADDED.get(place, f"docs/{place}"), place, lambda source: _attach(source, config, files))


def relinked(markdown: str, source: str, place: str, attach: Callable[[str], str]) -> str:
    """Return Markdown whose links lead to places in the site.

    Args:
        markdown: text whose links count from its file in the repository.
        source: that file.
        place: the page's place in the site.
        attach: brings a file of the repository into the site, and returns its place there.
    """
    added = {path: name for name, path in ADDED.items()}

    def lead(link: re.Match[str]) -> str:
        image, label, target, anchor = link[1], link[2], link[3], link[4] or ""
        if not target or re.match(r"\w+:", target):
            return link[0]
        path = normpath(f"{os.path.dirname(source)}/{target}".lstrip("/"))
        if Path(path).is_dir():
            return label
        inside = added.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else attach(path))
        return f"{image}[{label}]({relpath(inside, os.path.dirname(place) or '.')}{anchor})"

    return _LINK.sub(lead, markdown)


def _attach(source: str, config: MkDocsConfig, files: Files) -> str:
    from mkdocs.structure.files import File

    place = f"files/{source}"
    if files.get_file_from_path(place) is None:
        files.append(File.generated(config, place, content=Path(source).read_bytes()))
    return place
