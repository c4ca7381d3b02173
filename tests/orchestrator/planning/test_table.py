"""A rule is a file and a row: with a toy rule in the tables, everything that asks about rules works."""

import json

import pytest
from typer.testing import CliRunner

from orchestrator.budget.budget import Budget
from orchestrator.cli.app import app
from orchestrator.config.loading import load_sweep
from orchestrator.planning import plan as planning
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules import registry
from orchestrator.storage.paths import storage_of
from orchestrator.sweep.driver import run_sweep
from tests.orchestrator.planning.toy_rule import ToyPlan, Twice
from tests.support.inline import without_cluster


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """A row in each table."""
    monkeypatch.setattr(planning, "PLANS", (ToyPlan, *planning.PLANS))
    monkeypatch.setitem(registry.RULES, "twice", Twice)


@pytest.fixture
def plan(settings):
    return lambda *overrides: make_plan(load_sweep(settings, ["name=toy", *overrides]))


def test_it_is_planned_and_refused(plan, settings):
    made, usual = plan(), make_plan(load_sweep(settings))
    assert type(made) is ToyPlan
    assert made.epsilon == 2 * usual.epsilon
    with pytest.raises(BudgetExceeded, match=r"search\.num_trials 3 costs .* search\.num_trials 1 would fit"):
        plan(f"privacy.epsilon={1.3 * usual.epsilon!r}")


def test_it_is_reserved_drawn_stated_and_verified(plan, monkeypatch):
    without_cluster(monkeypatch)
    made = plan()
    statement = run_sweep(made).statement
    ledger = Ledger(storage_of(made.config).database_url)
    (cap,) = ledger.reservations()
    assert (cap.kind, cap.drawn, cap.cap.parameters["toy"]) == ("train_step", 12, 1)
    assert statement.epsilon == statement.epsilon_here == made.epsilon
    assert statement.rule.startswith("Everything may be published, and is charged twice.")
    (checked,) = Budget(cap.budget, ledger).verify()
    assert (checked.rule, checked.problem) == ("twice", None)
    next_one = plan("name=toy-2")
    run_sweep(next_one)
    assert ledger.terms_of("toy-2").reused == {}


def test_it_is_shown_and_plotted(settings, tmp_path):
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(settings | {"name": "toy"}))
    shown = CliRunner().invoke(app, ["plan", str(path), "--plot", str(tmp_path / "toy.svg")]).stdout
    assert "as many as a toy takes" in shown
    assert "toy  costs" in shown
    found = json.loads(CliRunner().invoke(app, ["plan", str(path), "--format", "json"]).stdout)
    assert found["rule"]["rule"] == found["outlook"]["chosen"] == "twice"
    assert found["outlook"]["toy"] == {"total": found["epsilon"]}
