"""The output of sweeps in README.md and docs/start.md has the columns, labels and headings that the command prints.

No sweep runs: the trials are made up, and the plan, the reservation and the statement are real.
"""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.api.views.summary import sweep_summary
from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of
from orchestrator.storage.results import StoredSweep
from orchestrator.storage.trials import TrialRow

ROOT = Path(__file__).parents[2]
TITLE = "PRIVACY STATEMENT"
KNOWN_SIGMA = ["privacy.epsilon=null", "privacy.noise_multiplier=0.798549"]  # ε = 3, without the search for it


def shown_lines(document):
    """The block of a document that shows what a sweep prints, without the … that cuts it."""
    blocks = re.findall(r"```(?:text)?\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if TITLE in block]
    lines = [line.rstrip() for line in block.splitlines()]
    assert lines.pop() == "…"
    return lines


@pytest.fixture(scope="module")
def printed_lines(tmp_path_factory):
    """What a terminal of 80 columns shows after the quickstart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # the example names its files from there
        overrides = [*KNOWN_SIGMA, f"storage_path={tmp_path_factory.mktemp('runs')}"]
        config = load_sweep("examples/quickstart.yaml", overrides)
        plan, storage = make_plan(config), storage_of(config)
        statement = run_statement(plan, reserve_plan(plan, storage))
        statement = statement.model_copy(update={"tokens_drawn": {"train_step": 1500}})  # as if it had run
    values = dict.fromkeys(config.search.parameters, 0.001)
    best = TrialRow(0, values, "complete", 150, 150, [0.9], 1.4, 150)
    result = StoredSweep(config.name, storage.folder, storage.model_folder, [best], best, 0.5, 54.0, statement)
    console = Console(file=io.StringIO(), width=80)
    console.print(sweep_summary(result, config))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def labels(lines):
    """The labels of lines such as "took        54 s", each once."""
    found = [re.match(r"(\S+(?: \S+)*)  +\S", line) for line in lines]
    return [match[1] for match in found if match]


def parts(lines):
    """Column heads, labels above the statement, the statement's headline without its numbers, and its labels."""
    title = lines.index(TITLE)
    facts = lines.index("")
    headline_end = next(number for number, line in enumerate(lines) if number > title and labels([line]))
    headline = [re.sub(r"\d+(?:\.\d+)?(?:e-\d+)?", "0", line) for line in lines[title:headline_end]]
    return lines[0].split(), labels(lines[facts:title]), headline, labels(lines[headline_end:])


@pytest.mark.parametrize(("document", "num_rows"), [("README.md", 8), ("docs/start.md", 1)])
def test_a_document_shows_what_a_sweep_prints(printed_lines, document, num_rows):
    heads, facts, headline, rows = parts(shown_lines(document))
    printed_heads, printed_facts, printed_headline, printed_rows = parts(printed_lines)
    assert heads == printed_heads
    assert facts == printed_facts
    assert " ".join(headline).split() == " ".join(printed_headline).split()
    assert rows == printed_rows[: len(rows)]
    assert len(rows) >= num_rows
