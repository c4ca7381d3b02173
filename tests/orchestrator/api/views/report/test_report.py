"""The report of finished work: whole, the same each time, without network, scripts, folders or secrets."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from orchestrator.api.views.report.page import REPORT_NAME, write_report
from orchestrator.api.views.report.signal import released_sizes, signal_share
from orchestrator.cli.app import app
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.sweep.driver import run_sweep
from tests.support.browser import WIDTH, look_at, needs_chromium
from tests.support.inline import Killed, without_cluster
from tests.support.settings import quick_settings
from trainers.mechanism.release_log import LOG_NAME

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")
SECTIONS = ["privacy", "result", "search", "training", "trials", "reproduce", "statement"]


class Page(HTMLParser):
    """What the tests ask of a page: tags with their attributes, and the visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def swept(settings, monkeypatch):
    """Run the small sweep with overrides and return its folder."""
    next_sweep = without_cluster(monkeypatch)

    def run(*overrides, **how):
        next_sweep(**how)
        return run_sweep(make_plan(load_sweep(settings, overrides))).folder

    return run


@pytest.fixture(scope="module")
def page(project, tmp_path_factory):
    """The report of a small sweep, and its folder; made once, and not to be changed."""
    settings = quick_settings(project, tmp_path_factory.mktemp("report"))
    with pytest.MonkeyPatch.context() as patch:
        without_cluster(patch)
        folder = run_sweep(make_plan(load_sweep(settings))).folder
    return Page(write_report(folder).read_text(encoding="utf-8")), folder


def test_the_report_begins_with_the_total_and_has_every_section(page):
    found, folder = page
    result = json.loads((folder / "result.json").read_text())
    assert [one["id"] for one in found.all("section")] == SECTIONS
    assert found.text.index("total ε =") < found.text.index("What came out")
    assert "That number would be wrong here" in found.text
    assert len([row for row in found.all("tr") if row.get("class") == "best"]) == 1
    assert result["statement"]["ledger_digest"] in found.text


def test_the_report_loads_nothing_and_runs_nothing(page):
    found, _ = page
    assert not found.all("script")
    assert not found.all("link")
    assert not [
        value for _, attributes in found.tags for name, value in attributes.items() if name in ("src", "onload")
    ]
    hrefs = [attributes.get("href", attributes.get("xlink:href", "")) for _, attributes in found.tags]
    assert {href[:1] for href in hrefs} <= {"", "#"}
    policies = [one["content"] for one in found.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_a_reader_without_eyes_gets_every_figure_and_table(page):
    found, _ = page
    assert len(found.all("figure")) == len(found.all("svg")) >= 6
    assert all(len(one.get("aria-label", "")) > 20 and one["role"] == "img" for one in found.all("svg"))
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert found.all("html")[0]["lang"] == "en"
    assert all(one.get("scope") == "col" for one in found.all("th"))


def test_the_report_is_the_same_each_time_and_holds_no_folder(page):
    _, folder = page
    text = (folder / REPORT_NAME).read_text()
    assert write_report(folder).read_text() == text
    assert str(folder) not in text
    assert not re.search(r"/(tmp|home|root)/", text)


def test_the_report_of_one_winner_tells_nothing_of_the_others(swept):
    folder = swept(*BEST, "search.num_trials=4")
    found = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "The winner" in found.text
    assert "The choice depends on the data too" in found.text
    assert "stays with the operator" in found.text
    assert "importance" not in found.text
    dates = {path.stat().st_mtime for path in (folder, folder / REPORT_NAME, folder / "result.json")}
    assert len(dates) == 1


def test_a_run_without_privacy_says_so_first(swept):
    folder = swept("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
    text = Page(write_report(folder).read_text(encoding="utf-8")).text
    assert "not private: ε = ∞" in text
    assert "total ε = " not in text.partition("Privacy statement")[0]


def test_signal_is_what_the_noise_does_not_explain(page):
    _, folder = page
    sizes_T, noise = released_sizes(folder / "trials" / "000" / LOG_NAME)
    assert len(sizes_T) == 4
    assert noise == pytest.approx(4.0)
    rng = np.random.default_rng(0)
    released_TK = rng.normal(0, 3.0, (2000, 4))
    assert signal_share(np.sqrt((released_TK**2).mean(axis=1)), 3.0) < 0.05
    assert signal_share(np.sqrt(((released_TK + 3.0) ** 2).mean(axis=1)), 3.0) == pytest.approx(0.5, abs=0.05)


def error_of(*words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2, result.output
    assert result.output.count("\n") == 1
    return result.output


def test_a_report_needs_something_finished(swept, settings, tmp_path):
    assert "there is no config.json" in error_of("report", str(tmp_path / "nowhere"))
    with pytest.raises(Killed):
        swept(kill_after=1)
    assert "this sweep is interrupted, and a report is of a finished one; `dpzo resume" in error_of(
        "report", str(tmp_path / "runs" / "test")
    )


def test_runs_are_compared_side_by_side(swept, settings):
    first, second = str(swept()), str(swept("name=other", "method.num_steps=2"))
    found = CliRunner().invoke(app, ["compare", first, second, "--format", "json"])
    rows = json.loads(found.stdout)
    assert [(row["name"], row["steps_T"], row["trials"]) for row in rows] == [("test", 4, "3"), ("other", 2, "3")]
    assert float(rows[0]["epsilon"]) > float(rows[1]["epsilon"])
    assert "other" in CliRunner().invoke(app, ["compare", first, second]).stdout
    third = str(swept("name=third", "score.metric=loss"))
    assert "of different tasks: metric differ" in error_of("compare", first, third)
    assert "expected two or more runs" in error_of("compare", first)


def test_its_figures_are_files_too(page, tmp_path, monkeypatch):
    report = "orchestrator.api.views.report.page"
    monkeypatch.setattr(f"{report}.write_report", lambda place: REPORT_NAME)
    monkeypatch.setattr(f"{report}._SEARCH", {"importance": ("", "")})  # of three trials there is none
    monkeypatch.setattr(f"{report}._COST", {})
    result = CliRunner().invoke(app, ["report", str(page[1]), "--figures", str(tmp_path / "figures")])
    assert result.exit_code == 0, result.output
    written = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    kinds = {name.partition(".")[0] for name in written}
    assert kinds == {"schedules", "signal"}
    assert all(written[f"{kind}.svg"].startswith(b"<?xml") for kind in kinds)
    assert all(written[f"{kind}.png"].startswith(b"\x89PNG") for kind in kinds)
    assert [name for name, content in written.items() if str(page[1].parent).encode() in content] == []


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_people_can_read_it_in_a_browser_on_a_narrow_screen(page, tmp_path, dark):
    shutil.copy(page[1] / REPORT_NAME, tmp_path)
    found = look_at(tmp_path / REPORT_NAME, dark=dark)
    assert found["sections"] == ["h1", *SECTIONS]
    assert (found["loaded"], found["console"]) == ([], [])
    assert found["width"] <= WIDTH
    assert (found["pale"], found["unnamed"]) == ([], [])
    assert found["texts"] > 50
    assert found["pictures"] >= 5
    assert (sum(found["paper"][:3]) < 300) == dark


@needs_chromium
def test_the_browser_finds_what_is_wrong(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<h1 style="width:900px;color:#ccc;background:#fff">pale</h1><svg width=9 height=9></svg>'
        "<script>nothing()</script>"
    )
    found = look_at(page, dark=False)
    assert found["width"] > WIDTH
    assert (found["pale"], len(found["unnamed"]), len(found["console"])) == (["pale"], 1, 1)
