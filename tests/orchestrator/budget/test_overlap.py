"""Private rows under another name: declared public, or as a data set with a budget of its own."""

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import storage_of

ROWS = [{"text": f"letter {n} of a patient", "label": "good" if n % 2 else "bad"} for n in range(60)]
MORE = [{"text": f"page {n} of a book", "label": "good"} for n in range(60)]
ACKNOWLEDGED = "budget.acknowledge_overlap=true"


@pytest.fixture
def write(tmp_path):
    def written(name: str, rows: list[dict]) -> str:
        path = tmp_path / name
        if path.suffix == ".csv":
            with open(path, "w", newline="") as file:
                table = csv.DictWriter(file, list(rows[0]))
                table.writeheader()
                table.writerows(rows)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return written


@pytest.fixture
def reserved(settings, write):
    """Reserve a sweep on ROWS (or other private rows), and return plan and reservation."""
    settings["data"]["train"] = write("private.jsonl", ROWS)

    def reserve(*overrides, load=load_sweep):
        plan = make_plan(load(settings, overrides))
        return plan, reserve_plan(plan, storage_of(plan.config))

    return reserve


@pytest.mark.parametrize("field", ["data.validation", "search.tune_on"])
@pytest.mark.parametrize("public", [ROWS[:30], ROWS[1:], [*MORE, *ROWS[:11]]])
def test_private_rows_are_not_public(reserved, settings, write, field, public):
    declared = f"{field}={write('public.jsonl', public)}"
    with pytest.raises(ValueError, match=f"{field} holds rows of data.train, which are private"):
        reserved(declared)
    assert Ledger(storage_of(load_sweep(settings)).database_url).budgets() == []
    reserved("name=first")
    with pytest.raises(ValueError, match=f"{field} holds rows that budget 'private' protects"):
        reserved("name=second", f"data.train={write('other.jsonl', MORE)}", declared)


@pytest.mark.parametrize("shared", [ROWS[:1], ROWS])
def test_no_private_row_may_be_learned_from(reserved, write, shared):
    """Directions from public rows may not see a single private row: one is enough to be refused."""
    guided = ("model.trainable=all-linear", "method.direction=activation")
    with pytest.raises(ValueError, match=r"data\.public holds rows of data\.train, which are private"):
        reserved(*guided, f"data.public={write('public.jsonl', [*MORE, *shared])}")
    plan, reservation = reserved(*guided, f"data.public={write('public.jsonl', MORE)}")
    assert "rows that directions are learned from (public.jsonl)" in run_statement(plan, reservation).public_data
    with pytest.raises(ValueError, match=r"data\.public: the file has other rows"):
        reserved(*guided, f"data.public={write('public.jsonl', MORE[1:])}")


def test_a_few_rows_may_be_alike(reserved, write):
    reserved(f"data.validation={write('public.jsonl', [*MORE, *ROWS[:10]])}")
    _, other = reserved("name=other", f"data.train={write('other.jsonl', [*ROWS[:10], *MORE])}")
    assert len(other.ledger.budgets()) == 2


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("minus_one.jsonl", ROWS[1:]),
        ("enriched.jsonl", [row | {"id": n} for n, row in enumerate(ROWS)]),
        ("grown.jsonl", [*ROWS, *MORE]),
        ("table.csv", [row | {"text": f" {row['text'].upper()}  "} for row in ROWS]),
        ("relabelled.jsonl", [row | {"label": "good"} for row in ROWS]),
    ],
)
def test_the_same_rows_under_another_name_have_no_fresh_budget(reserved, write, name, rows):
    first, _ = reserved("name=first")
    other = (f"data.train={write(name, rows)}", "name=second")
    with pytest.raises(ValueError, match=r"data\.train holds rows that budget 'private' protects, and would have a"):
        reserved(*other)
    plan, accepted = reserved(*other, ACKNOWLEDGED)
    assert len(accepted.ledger.budgets()) == 2
    note = f"Budget 'private' counts ε = {first.epsilon:.3g}"
    said = [line for line in run_statement(plan, accepted).not_covered if line.startswith(note)]
    assert len(said) == 1
    assert "for a data set that shares rows with this one" in said[0]


def test_what_was_accepted_or_began_before_goes_on(reserved, write):
    reserved("name=first")
    other = (f"data.train={write('minus_one.jsonl', ROWS[1:])}", "name=second")
    reserved(*other, ACKNOWLEDGED)
    reserved(*other)
    plan, again = reserved("name=first")
    assert any("'minus_one'" in line for line in run_statement(plan, again).not_covered)


def test_rows_that_are_scored_on_privately_are_another_data_set_or_the_same(reserved, write):
    scored = ("score.on=private", "score.num_examples=30", "score.times=2")
    part = f"data.validation={write('part.jsonl', ROWS[:30])}"
    with pytest.raises(ValueError, match=r"data\.validation holds rows of data\.train, and would have a budget"):
        reserved(*scored, part)
    _, made = reserved(*scored, part, ACKNOWLEDGED)
    assert len(made.ledger.budgets()) == 2


def test_without_privacy_no_rows_of_a_budget_are_read_under_another_name(reserved, write):
    reserved("name=first")
    mezo = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
    with pytest.raises(ValueError, match="holds rows that budget 'private' protects"):
        reserved("name=second", *mezo, f"data.train={write('minus_one.jsonl', ROWS[1:])}", load=load_run)


def test_a_ledger_of_an_earlier_version_knows_no_rows_until_the_next_reservation(reserved, settings, write):
    _, made = reserved("name=first")
    made.ledger.dispose()
    with closing(sqlite3.connect(Path(settings["storage_path"]) / "dpzo.db")) as database:
        database.execute("DROP TABLE row_sketches")
    declared = (f"data.train={write('other.jsonl', MORE)}", f"data.validation={write('public.jsonl', ROWS[1:])}")
    reserved("name=old", *declared)
    reserved("name=first")
    with pytest.raises(ValueError, match="holds rows that budget 'private' protects"):
        reserved("name=new", *declared)
