"""The first steps of docs/start.md print what the page shows: `dpzo init` and `dpzo plan`, on the demo's rows as a CSV.

tests/examples/test_readme.py compares what a sweep prints, and tests/integration/test_newcomer.py walks the whole path.
"""

from __future__ import annotations

import csv
import json
import re
import shlex

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from tests.docs.pages import ROOT, blocks

KNOWN_SIGMA = ("--set", "privacy.epsilon=null", "--set", "privacy.noise_multiplier=0.80663")  # ε = 3, found before
WORDS = {"negative": "bad", "positive": "good"}
DEMO = ROOT / "examples/demo"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the files that the page speaks of."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "model").symlink_to(DEMO / "model")
    for name, source in (("reviews", "private"), ("public", "public_validation")):
        rows = map(json.loads, (DEMO / f"{source}.jsonl").read_text(encoding="utf-8").splitlines())
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["customer", "review", "verdict"])
            writer.writerows([f"c{n:04}", row["text"], WORDS[row["label"]]] for n, row in enumerate(rows))
    return folder


def page(language):
    return [block.text for block in blocks(language) if str(block.page) == "docs/start.md"]


def printed_by(command, *more):
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], *more], env={"COLUMNS": "96"})
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.output.splitlines() if line.strip()]


def test_init_and_plan_print_what_the_page_shows(home, monkeypatch):
    monkeypatch.chdir(home)
    (init, plan, *_), (shown, costs, *_) = page(""), page("text")
    printed = printed_by(init)
    assert [line for line in shown.splitlines() if " ".join(line.split()) not in printed] == []
    facts = printed_by(plan, *KNOWN_SIGMA)
    assert [re.sub(r"about .* on", "about … on", line) for line in facts] == [
        re.sub(r"about .* on", "about … on", " ".join(line.split())) for line in costs.splitlines()
    ]
