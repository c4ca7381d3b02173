import json
import sqlite3
from pathlib import Path

import dp_accounting as dp
import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.accountant.accountant import epsilon
from orchestrator.privacy.errors import BudgetExceeded, LedgerCorruptError
from orchestrator.privacy.ledger.budget import BudgetTerms
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import storage_of

MEZO = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")
BEST = ("search.release=best", "search.sampler=random", "search.seed=null")
PRIVATE_SCORES = ("score.on=private", "score.num_examples=100", "score.times=2")


@pytest.fixture
def plan(settings):
    """Plan the small sweep with overrides."""
    return lambda *overrides: make_plan(load_sweep(settings, overrides))


def test_the_caps_of_a_plan_are_reserved_before_anything_is_drawn(plan):
    made = plan(*PRIVATE_SCORES, "privacy.spare_steps=5")
    storage = storage_of(made.config)
    found = {cap.kind: cap for cap in reserve_plan(made, storage).ledger.reservations() if cap.name == "test"}
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
    first = reserve_plan(plan(), storage).ledger.reservations()
    assert reserve_plan(plan(), storage).ledger.reservations() == first


@pytest.mark.parametrize("change", ["search.num_trials=4", "privacy.noise_multiplier=5", "privacy.spare_steps=1"])
def test_a_name_keeps_its_caps(plan, change):
    storage = storage_of(plan().config)
    first = reserve_plan(plan(), storage).ledger.reservations()
    with pytest.raises(ValueError, match="'test' is already reserved with other caps"):
        reserve_plan(plan(change), storage)
    assert Ledger(storage.database_url).reservations() == first


def test_two_names_share_one_ledger(plan):
    for name in ("a", "b"):
        made = plan(f"name={name}")
        ledger = reserve_plan(made, storage_of(made.config)).ledger
    assert [cap.name for cap in ledger.reservations()] == ["a", "b"]


def test_steps_without_privacy_are_counted_all_the_same(plan):
    caps = plan(*MEZO, "privacy.spare_steps=5").token_caps()
    assert {kind: (dict(cap.parameters), cap.count) for kind, cap in caps.items()} == {
        "train_step": ({"law": "not private"}, 3 * 4 + 5)
    }


def test_a_ledger_that_was_edited_is_refused(plan):
    made = plan()
    storage = storage_of(made.config)
    ledger = reserve_plan(made, storage).ledger
    for step in range(3):
        ledger.draw("test", "train_step", "trial-000", step)
    with sqlite3.connect(storage.root / "dpzo.db") as database:
        database.execute("UPDATE draws SET holder = 'somebody' WHERE sequence = 1")
    database.close()
    with pytest.raises(LedgerCorruptError, match="Draw 1 of 'train_step' of 'test' is not the draw that was written"):
        reserve_plan(made, storage)


def test_a_search_of_one_winner_goes_on_in_its_own_folder_only(plan, tmp_path):
    ledger = f"budget.ledger=sqlite:///{tmp_path / 'shared.db'}"
    made = plan(*BEST, ledger)
    storage = storage_of(made.config)
    number = reserve_plan(made, storage).num_trials()
    elsewhere = plan(*BEST, ledger, f"storage_path={tmp_path / 'elsewhere'}")
    with pytest.raises(ValueError, match="'test', was begun in another folder"):
        reserve_plan(elsewhere, storage_of(elsewhere.config))
    assert reserve_plan(made, storage).num_trials() == number


def test_where_everything_is_released_a_name_may_go_on_elsewhere(plan, tmp_path):
    ledger = f"budget.ledger=sqlite:///{tmp_path / 'shared.db'}"
    reserve_plan(plan(ledger), storage_of(plan(ledger).config))
    elsewhere = plan(ledger, f"storage_path={tmp_path / 'elsewhere'}")
    assert len(reserve_plan(elsewhere, storage_of(elsewhere.config)).ledger.reservations()) == 1


def budgets_by_file(ledger):
    return {budget.name: ledger.spent(budget.name).epsilon for budget in ledger.budgets()}


def test_private_rows_to_score_on_are_charged_whatever_else_trains(plan, settings, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_text(Path(settings["data"]["train"]).read_text() + '{"text": "one more", "label": "good"}\n')
    first = plan(*PRIVATE_SCORES)
    ledger = reserve_plan(first, storage_of(first.config)).ledger
    once = budgets_by_file(ledger)
    (rows,) = set(once) - {Path(settings["data"]["train"]).stem}
    scores_alone = first.caps.caps().evaluation
    assert once[rows] >= epsilon(dp.SelfComposedDpEvent(scores_alone.event(), scores_alone.count), 1e-5)
    assert once[rows] < first.epsilon
    second = plan(*PRIVATE_SCORES, "name=second", f"data.train={other}")
    reserve_plan(second, storage_of(second.config))
    assert budgets_by_file(ledger)[rows] == pytest.approx(2 * once[rows])
    reserve_plan(second, storage_of(second.config))  # the same again
    assert budgets_by_file(ledger)[rows] == pytest.approx(2 * once[rows])


def test_rows_that_train_and_are_scored_on_are_charged_once(plan, settings, tmp_path):
    copied = tmp_path / "copied.jsonl"
    copied.write_text(Path(settings["data"]["train"]).read_text())
    made = plan("score.on=private", "score.num_examples=40", f"data.validation={copied}")
    reserved = reserve_plan(made, storage_of(made.config))
    assert budgets_by_file(reserved.ledger) == {reserved.budget.name: made.epsilon}


def test_what_was_charged_to_rows_that_are_scored_on_is_left_to_nobody(plan):
    made = plan(*PRIVATE_SCORES)
    storage = storage_of(made.config)
    reserved = reserve_plan(made, storage)
    reserved.ledger.close(storage.name)
    (cap,) = [one for one in reserved.ledger.reservations() if (one.name, one.kind) == ("test/scores", "evaluation")]
    assert reserved.ledger.leftover(cap.budget, cap.cap.parameters) == 0


@pytest.mark.parametrize("field", ["data.validation", "search.tune_on"])
def test_rows_that_a_budget_protects_are_not_public(plan, settings, tmp_path, field):
    copied = tmp_path / "copied.jsonl"
    copied.write_text(Path(settings["data"]["train"]).read_text())
    with pytest.raises(ValueError, match=f"{field} holds rows of data.train, which are private"):
        reserve_plan(plan(f"{field}={copied}"), storage_of(plan().config))


@pytest.fixture
def authors(settings, tmp_path):
    """Overrides that make users the unit, by a column of rows of their own."""
    path = tmp_path / "written.jsonl"
    lines = [{"text": "good", "label": "good", "author": n % 20, "visit": n} for n in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sizes = ("data.max_examples_per_user=2", "data.num_users=20")
    return lambda column: (f"data.train={path}", f"data.user_column={column}", *sizes)


FILTER = ("search.filter={order: 8, space: {privacy.noise_multiplier: {low: 2, high: 4}}}", "privacy.epsilon=8")


@pytest.mark.parametrize("rule", [(), FILTER, BEST])
def test_users_of_two_columns_do_not_share_a_budget(plan, authors, rule):
    first = plan(*authors("author"), *rule)
    reserve_plan(first, storage_of(first.config))
    second = plan(*authors("visit"), "name=second")
    with pytest.raises(ValueError, match="counts users of column 'author', now it would count users of column 'visit'"):
        reserve_plan(second, storage_of(second.config))
    third = plan(*authors("author"), "name=third")
    assert len(reserve_plan(third, storage_of(third.config)).ledger.budgets()) == 1


def test_tokens_for_a_selection_of_rows_are_not_left_to_the_whole_file(plan):
    chosen = plan("data.shots=10", "data.num_examples=null", "privacy.noise_multiplier=4")
    storage = storage_of(chosen.config)
    reserve_plan(chosen, storage).ledger.close(storage.name)
    whole = plan("name=whole", "data.num_examples=20")
    assert whole.caps.sampling_prob == chosen.caps.sampling_prob
    assert Ledger(storage.database_url).terms_of(storage.name).caps["train_step"].count == 12
    reserve_plan(whole, storage_of(whole.config))
    assert Ledger(storage.database_url).terms_of("whole").reused == {}


def test_a_renyi_budget_refuses_what_has_no_finite_divergence(settings):
    settings["budget"] = {"name": "notes"}
    del settings["search"]
    plan = make_plan(load_run(settings, MEZO))
    storage = storage_of(plan.config)
    terms = {"composition": "rdp", "order": 8.0, "renyi_limit": 5.0}
    Ledger(storage.database_url).create_budget(
        BudgetTerms(name="notes", epsilon=8.0, delta=1e-5, num_units=40, **terms)
    )
    with pytest.raises(BudgetExceeded, match="'test' is not private, and budget 'notes' is limited to ε = 8"):
        reserve_plan(plan, storage)
