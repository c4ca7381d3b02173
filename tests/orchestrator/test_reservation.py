import sqlite3

import pytest

from orchestrator.config import load_run, load_sweep
from orchestrator.planning import make_plan
from orchestrator.privacy.budgets import Budget
from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError
from orchestrator.privacy.ledger import Ledger
from orchestrator.reservation import caps_of, reserve
from orchestrator.storage import storage_of

MEZO = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
PRIVATE_SCORES = ("score.on=private", "score.num_examples=100", "score.times=2")


@pytest.fixture
def plan(settings):
    """Plan the small sweep with overrides."""
    return lambda *overrides: make_plan(load_sweep(settings, overrides))


def test_the_caps_of_a_plan_are_reserved_before_anything_is_drawn(plan):
    made = plan(*PRIVATE_SCORES, "privacy.spare_steps=5")
    storage = storage_of(made.config)
    found = {cap.kind: cap for cap in reserve(made, storage).ledger.reservations()}
    assert {kind: (cap.name, cap.cap.count, cap.drawn) for kind, cap in found.items()} == {
        "train_step": ("test", 3 * 4 + 5, 0),
        "evaluation": ("test", 3 * 2, 0),
    }
    assert found["train_step"].cap.parameters == {
        "noise": "gaussian",
        "noise_multiplier": made.noise_multiplier,
        "sampling_prob": made.caps.sampling_prob,
    }


def test_the_same_plan_again_is_the_same_reservation(plan):
    storage = storage_of(plan().config)
    first = reserve(plan(), storage).ledger.reservations()
    assert reserve(plan(), storage).ledger.reservations() == first


@pytest.mark.parametrize("change", ["search.num_trials=4", "privacy.noise_multiplier=5", "privacy.spare_steps=1"])
def test_a_name_keeps_its_caps(plan, change):
    storage = storage_of(plan().config)
    first = reserve(plan(), storage).ledger.reservations()
    with pytest.raises(ValueError, match="'test' is already reserved with other caps"):
        reserve(plan(change), storage)
    assert Ledger(storage.database_url).reservations() == first


def test_two_names_share_one_ledger(plan):
    for name in ("a", "b"):
        made = plan(f"name={name}")
        ledger = reserve(made, storage_of(made.config)).ledger
    assert [cap.name for cap in ledger.reservations()] == ["a", "b"]


def test_steps_without_privacy_are_counted_all_the_same(plan):
    caps = caps_of(plan(*MEZO, "privacy.spare_steps=5"))
    assert {kind: (dict(cap.parameters), cap.count) for kind, cap in caps.items()} == {
        "train_step": ({"law": "not private"}, 3 * 4 + 5)
    }


def test_a_ledger_that_was_edited_is_refused(plan):
    made = plan()
    storage = storage_of(made.config)
    ledger = reserve(made, storage).ledger
    for step in range(3):
        ledger.draw("test", "train_step", "trial-000", step)
    with sqlite3.connect(storage.root / "dpzo.db") as database:
        database.execute("UPDATE draws SET holder = 'somebody' WHERE sequence = 1")
    database.close()
    with pytest.raises(LedgerCorruptError, match="Draw 1 of 'train_step' of 'test' is not what was written"):
        reserve(made, storage)


def test_a_renyi_budget_refuses_what_has_no_finite_divergence(settings):
    settings["budget"] = {"name": "notes"}
    del settings["search"]
    plan = make_plan(load_run(settings, MEZO))
    storage = storage_of(plan.config)
    terms = {"composition": "rdp", "order": 8.0, "renyi_limit": 5.0}
    Ledger(storage.database_url).create_budget(Budget(name="notes", epsilon=8.0, delta=1e-5, num_units=40, **terms))
    with pytest.raises(BudgetExceeded, match="'test' is not private, and budget 'notes' is limited to ε = 8"):
        reserve(plan, storage)
