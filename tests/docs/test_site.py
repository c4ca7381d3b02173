"""The site builds without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import logging
import re
import warnings

import pytest

from tests.docs.pages import ROOT
from tests.support.browser import WIDTH, look_at, needs_chromium

LOADED = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(https?://[^\" >]+)")
PAGES = ("index", "start", "pitfalls", "changelog", "benchmarks", "methods/dp-zo", "reference/python", "proofs/caps")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that read pages; what concerns ours is logged
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.chdir(ROOT)
        from mkdocs.commands.build import build
        from mkdocs.config import load_config

        logging.getLogger("mkdocs").setLevel(logging.WARNING)
        build(load_config("mkdocs.yml", site_dir=str(folder), strict=True))  # raises Abort at a warning
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_there(site, page):
    assert "<h1" in (site / f"{page}.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site):
    found = {path.name: LOADED.findall(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert {name: links for name, links in found.items() if links} == {}
    assert len(found) > 40


def test_what_is_generated_is_filled_in(site):
    assert [path.name for path in site.rglob("*.html") if "<!-- generated:" in path.read_text(encoding="utf-8")] == []
    assert "expected_batch_size" in (site / "reference/configuration.html").read_text(encoding="utf-8")
    assert "on_score" in (site / "reference/python.html").read_text(encoding="utf-8")
    assert not (site / "generate").exists()


@needs_chromium
def test_the_widest_page_fits_a_narrow_screen(site):
    found = look_at(site / "reference/configuration.html", dark=False)
    assert found["width"] <= WIDTH
    assert found["console"] == []
    assert [name for name in found["loaded"] if not name.startswith("file:")] == []
    assert found["texts"] > 500


def test_files_that_pages_link_to_come_along(site):
    assert (site / "files/examples/dp_zo.yaml").is_file()
    assert (site / "files/deploy/grafana-dashboard.json").is_file()
