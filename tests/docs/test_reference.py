"""Every key, verb, flag, exit code and method is documented: the generated references against their sources."""

from __future__ import annotations

import re

import pytest

import orchestrator.callbacks
import search_spaces
from docs.generate.configuration import configuration_reference
from docs.generate.hooks import GENERATED, relinked
from docs.generate.pitfalls import pitfalls_by_severity
from docs.generate.verbs import EXIT_CODES, exit_codes_reference, verbs, verbs_reference
from orchestrator.config.models import SweepConfig
from search_spaces.searchable import FILTERED, SEARCHABLE, dotted_names
from tests.docs.pages import PAGES, ROOT, text_of
from trainers.methods.catalogue import METHODS

CELLS = re.compile(r"(?<!\\)\|")


def rows_by_section(reference):
    """Return (heading, first cell without its marks) → the row's last cell."""
    rows, heading = {}, ""
    for line in reference.splitlines():
        if line.startswith("## "):
            heading = line[3:].partition(" {")[0]
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in CELLS.split(line)[1:-1]]
            rows[heading, cells[0].split("`")[1]] = cells
    return rows


@pytest.fixture(scope="module")
def keys():
    return rows_by_section(configuration_reference())


def place_of(name):
    section, _, key = name.rpartition(".")
    return section or "top level", key


def test_every_key_has_a_row_that_says_what_it_means(keys):
    names = dotted_names(SweepConfig)
    assert len(names) > 90
    assert [name for name in names if not keys.get(place_of(name), [""])[-1]] == []
    assert [place for place, cells in keys.items() if not cells[-1]] == []


def test_what_a_sweep_may_vary_is_marked(keys):
    marked = {f"{place}.{key}" for (place, key), cells in keys.items() if "◆" in cells[0]}
    filtered = {f"{place}.{key}" for (place, key), cells in keys.items() if "◇" in cells[0]}
    assert (marked, filtered) == (set(SEARCHABLE), set(FILTERED))


def test_ranges_and_defaults_are_those_of_the_models(keys):
    assert keys["privacy", "delta"][1:3] == ["number ≥ 0, &lt; 1", "`1e-05`"]
    assert keys["method", "num_steps"][1:3] == ["whole number ≥ 1", "`1000`"]
    assert "[Cosine](#cosine)" in keys["method", "smoothing"][1]
    assert keys["model", "path"][2] == "**required**"


def test_every_verb_and_flag_is_documented():
    rows = rows_by_section(verbs_reference())
    found = dict(verbs())
    assert {"plan", "sweep", "budget create", "data preview"} <= set(found)
    for name, command in found.items():
        assert command.help, name
        flags = {param.opts[0] for param in command.params if param.opts[0].startswith("--")}
        shown = {flag.split()[0]: cells[-1] for (heading, flag), cells in rows.items() if heading == f"dpzo {name}"}
        assert flags <= set(shown), name
        assert all(shown.values()), (name, shown)


def test_every_public_name_of_python_is_documented():
    page = text_of("docs/reference/python.md")
    names = [*orchestrator.__all__, *search_spaces.__all__, *orchestrator.callbacks.__all__]
    assert len(names) > 15
    assert [name for name in names if not re.search(rf"^::: [\w.]+\.{name}$|`{name}` holds", page, re.MULTILINE)] == []


def test_exit_codes_are_those_of_the_command_line():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "orchestrator/cli").glob("*.py"))
    declared = re.findall(r"^[A-Z_]+(?:, [A-Z_]+)+ = (\d(?:, \d)+)\b", source, re.MULTILINE)
    assert sorted(declared) == ["1, 2, 3", "1, 4"]
    assert set(EXIT_CODES) == {0, 1, 2, 3, 4}
    assert all(f"| {code} |" in exit_codes_reference() for code in EXIT_CODES)
    assert "130 (SIGINT)" in exit_codes_reference()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_with_its_update(name):
    page = text_of(f"docs/methods/{name}.md")
    assert f"<!-- generated: method {name} -->" in page
    assert "θ" in page.split("```")[1]
    assert f"trainers/methods/{name.replace('-', '_')}.py" in GENERATED[f"method {name}"](page)


def test_all_that_is_generated_stands_on_a_page_and_is_known():
    marks = [mark for page in PAGES for mark in re.findall(r"<!-- generated: (.+?) -->", text_of(page))]
    assert sorted(marks) == sorted(GENERATED)


def test_every_pitfall_has_a_severity():
    page = text_of("docs/pitfalls.md")
    assert pitfalls_by_severity(page).count("](#") == page.count("\n### ")
    with pytest.raises(ValueError, match="'A trap' must begin with"):
        pitfalls_by_severity("## Traps\n\n### A trap\n**Here** it is.\n")


def test_links_lead_to_places_in_the_site(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (
        "[a](../examples/sst2.yaml) [b](../CHANGELOG.{m}#x) [c](noise.{m}) [d](../examples) [e](https://x) ![f](a.svg)"
    )
    there = "[a](files/examples/sst2.yaml) [b](changelog.{m}#x) [c](noise.{m}) d [e](https://x) ![f](a.svg)"
    attached, home = [], "docs"
    page = relinked(text.format(m="md"), f"{home}/x", "x", lambda path: attached.append(path) or f"files/{path}")
    assert page == there.format(m="md")
    assert attached == ["examples/sst2.yaml"]
    assert relinked(f"[c]({home}/noise)", "CHANGELOG", "changelog", str) == "[c](noise)"
    assert relinked("[c](../noise)", f"{home}/methods/mezo", "methods/mezo", str) == "[c](../noise)"
