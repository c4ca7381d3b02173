"""What documents and code say about each other is there: files, headings, tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("orchestrator", "search_spaces", "trainers", "benchmarks", "examples", "tests", "docs", "deploy")
THIS = Path(__file__).relative_to(ROOT)
IN_THE_WHEEL = {"orchestrator/cli/start/demo_files/demo/model"}
OF_VLLM = {"v1/attention/backends/cpu_attn.py", "config/lora.py"}

DOCUMENT = re.compile(r"(?<![\w/.*-])[\w./-]*\w\.md(?:#[\w-]+)?\b")
MODULE = re.compile(r"(?<![\w/.*-])[\w./-]*\w\.py\b(?:::\w+)?")
FOLDER = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})(?:/[\w-]+)+(?![\w./-])")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@cache
def files() -> list[Path]:
    """Return all files of the folders and of the root, as paths from the root."""
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    return sorted(path.relative_to(ROOT) for path in [*ROOT.iterdir(), *inside] if path.is_file())


def with_suffix(*suffixes: str) -> list[Path]:
    return [path for path in files() if path.suffix in suffixes and path != THIS]


def text_of(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def lacks_document(citation: str, home: Path) -> bool:
    """Return whether a cited document or heading is missing; a path counts from the root or the file's folder."""
    name, _, anchor = citation.partition("#")
    found = [place / name for place in (ROOT, ROOT / home) if (place / name).is_file()]
    return not found or (bool(anchor) and anchor not in anchors(found[0]))


def lacks_module(citation: str) -> bool:
    """Return whether no file ends in the cited path, or it does not define the function that is named."""
    name, _, function = citation.replace("../", "").partition("::")
    found = [path for path in files() if str(path) == name or str(path).endswith(f"/{name}")]
    return not any(not function or f"def {function}(" in text_of(path) for path in found)


def wrong_in(path: Path) -> Iterator[str]:
    """Yield the citations of a file that lead nowhere."""
    text = text_of(path)
    yield from (citation for citation in DOCUMENT.findall(text) if lacks_document(citation, path.parent))
    yield from (citation for citation in MODULE.findall(text) if citation not in OF_VLLM and lacks_module(citation))
    yield from (
        folder for folder in FOLDER.findall(text) if folder not in IN_THE_WHEEL and not (ROOT / folder).exists()
    )


def test_code_cites_what_is_here():
    wrong = {str(path): found for path in with_suffix(".py", ".toml", ".yaml") if (found := [*wrong_in(path)])}
    assert wrong == {}


@pytest.mark.parametrize("document", with_suffix(".md"), ids=str)
def test_a_document_cites_what_is_here(document):
    assert [*wrong_in(document)] == []


@pytest.mark.parametrize("document", with_suffix(".md"), ids=str)
def test_a_document_links_to_what_is_here(document):
    here, wrong = ROOT / document, []
    for link in LINK.findall(text_of(document)):
        target, _, anchor = link.partition("#")
        path = here.parent / target if target else here
        if not re.match(r"\w+:", link) and (not path.exists() or (anchor and anchor not in anchors(path))):
            wrong.append(link)
    assert wrong == []


def test_a_citation_that_leads_nowhere_is_found():
    home = Path("trainers")
    assert not lacks_document("docs/pitfalls.md#noise-from-the-directions-seed", home)
    assert lacks_document("docs/pitfalls.md#noise-from-nowhere", home)
    assert DOCUMENT.findall("as (nowhere.md, no. 3) says, or docs/noise.md#x") == ["nowhere.md", "docs/noise.md#x"]
    assert lacks_document("nowhere.md", home)
    assert not lacks_module("mechanism/noise.py::discrete_gaussian")
    assert lacks_module("mechanism/noise.py::discrete_nothing")
    assert lacks_module("noises.py")
