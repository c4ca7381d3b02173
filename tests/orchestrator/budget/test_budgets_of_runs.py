"""One data set, one budget: what runs and sweeps on it cost together, and what is refused."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.budget.statement import run_statement
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.budget import BudgetTerms
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.renyi_filter import renyi_limit
from orchestrator.storage.paths import storage_of
from orchestrator.sweep.driver import run_sweep
from orchestrator.sweep.single_run import run_training
from tests.support.inline import without_cluster

MEZO = ("method.name=mezo", "method.num_directions=1", "privacy.noise_multiplier=null")


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


@pytest.fixture
def plan(settings):
    return lambda *overrides, load=load_sweep: make_plan(load(settings, overrides))


@pytest.fixture
def ledger(settings):
    return Ledger(storage_of(load_sweep(settings)).database_url)


@pytest.fixture
def budget(ledger):
    """Declare a budget as `dpzo budget create` does."""

    def declare(name: str = "reviews", epsilon: float | None = 2.0, delta: float = 1e-4, **terms) -> BudgetTerms:
        declared = BudgetTerms(**{"name": name, "epsilon": epsilon, "delta": delta, "num_units": 40} | terms)
        ledger.create_budget(declared)
        return declared

    return declare


def reserved(plan):
    return reserve_plan(plan, storage_of(plan.config))


def stated(plan):
    return run_statement(plan, reserved(plan))


def test_two_sweeps_on_the_same_data_add_up(plan, next_sweep):
    first, second = plan("name=first"), plan("name=second", "privacy.noise_multiplier=5", "privacy.delta=1e-6")
    statement = run_sweep(first).statement
    assert (statement.epsilon_total, statement.delta_total) == (first.epsilon, 1e-5)
    assert "nothing else was released about this data" in statement.text()
    statement = run_sweep(second).statement
    assert statement.epsilon_here == second.epsilon
    assert statement.epsilon_total == pytest.approx(first.epsilon + second.epsilon, abs=1e-12)
    assert statement.epsilon_total >= first.epsilon + second.epsilon
    assert statement.delta_total == pytest.approx(1.1e-5)
    assert statement.budget.num_reservations == 2


def test_a_run_and_a_sweep_under_another_name_of_the_file_share_the_budget(plan, settings, tmp_path):
    first = plan("name=first")
    reserved(first)
    rows = Path(settings["data"]["train"]).read_text().splitlines()
    copy = tmp_path / "another.jsonl"
    copy.write_text("\n".join(reversed(rows)))
    second = plan("name=second", f"data.train={copy}", load=load_run)
    assert stated(second).epsilon_total == pytest.approx(first.epsilon + second.epsilon)


def test_a_limited_budget_refuses_what_does_not_fit(plan, budget, ledger):
    first = plan("name=first", "budget.name=reviews")
    budget(epsilon=first.epsilon * 1.5)
    reserved(first)
    with pytest.raises(BudgetExceeded, match="Budget 'reviews' has no room for 'second'") as refusal:
        reserved(plan("name=second", "budget.name=reviews", "privacy.noise_multiplier=4.1"))
    assert refusal.value.left == pytest.approx(first.epsilon / 2)
    assert {cap.name for cap in ledger.reservations()} == {"first"}
    small = plan("name=small", "budget.name=reviews", "search.num_trials=1", "privacy.noise_multiplier=9")
    assert stated(small).epsilon_total <= first.epsilon * 1.5


def test_a_limit_of_delta_counts_as_well(plan, budget):
    budget(epsilon=100.0, delta=1.5e-5)
    reserved(plan("name=first", "budget.name=reviews"))
    with pytest.raises(BudgetExceeded, match="asks for δ = 1e-05"):
        reserved(plan("name=second", "budget.name=reviews", "privacy.noise_multiplier=5"))


def test_a_budget_keeps_its_data_and_data_its_budget(plan, budget, settings, tmp_path):
    budget("reviews")
    budget("letters")
    reserved(plan("budget.name=reviews"))
    with pytest.raises(ValueError, match="This data already has budget 'reviews'"):
        reserved(plan("name=second", "budget.name=letters"))
    other = tmp_path / "other.jsonl"
    other.write_text(Path(settings["data"]["train"]).read_text() + '{"text": "food was good", "label": "good"}\n')
    with pytest.raises(ValueError, match="Budget 'reviews' belongs to another data set"):
        reserved(plan("name=third", "budget.name=reviews", f"data.train={other}"))
    with pytest.raises(ValueError, match=r"Unknown budget 'review'; known: .*Did you mean 'reviews'\?"):
        reserved(plan("name=fourth", "budget.name=review"))


def test_without_a_name_the_budget_of_the_data_is_found_and_its_limit_holds(plan, budget):
    first = plan("name=first", "budget.name=reviews")
    budget(epsilon=first.epsilon * 1.5)
    reserved(first)
    with pytest.raises(BudgetExceeded, match="Budget 'reviews' has no room for 'second'"):
        reserved(plan("name=second", "privacy.noise_multiplier=4.1"))


def test_two_runs_that_make_the_budget_of_their_data_at_the_same_moment_share_it(plan, monkeypatch):
    create = Ledger.create_budget

    def beaten(ledger, terms):
        create(ledger, replace(terms, name="of-another-process"))
        create(ledger, terms)

    monkeypatch.setattr(Ledger, "create_budget", beaten)
    assert reserved(plan("name=first")).budget.name == "of-another-process"


@pytest.mark.parametrize(
    ("terms", "override", "line"),
    [
        ({"adjacency": "replace-one"}, "name=a", "privacy.adjacency is 'add-or-remove-one', and budget 'reviews'"),
        ({}, "privacy.adjacency=replace-one", "privacy.adjacency is 'replace-one', and budget 'reviews'"),
        (
            {"unit": "user"},
            "name=a",
            "the unit of privacy is 'example', and budget 'reviews' of this data",
        ),
        ({"num_units": 39}, "name=a", "data.num_examples 40 exceeds the 39 that budget 'reviews' declares"),
    ],
)
def test_what_does_not_add_up_is_refused(plan, budget, ledger, terms, override, line):
    budget(epsilon=100.0, **terms)
    with pytest.raises(ValueError, match=line.replace(".", r"\.")):
        reserved(plan("budget.name=reviews", override))
    assert ledger.reservations() == []


def test_tokens_that_early_stopping_left_serve_the_next_sweep_of_that_law(plan, next_sweep, ledger):
    """The second sweep wants 12 steps: 4 of them were paid for by the first one, so it pays for 8."""
    next_sweep(stop_after={0: 1, 1: 1})
    first = plan("name=first")
    run_sweep(first)
    assert ledger.drawn("first", "train_step") == 2 + 2 + 4
    next_sweep()
    second = plan("name=second")
    statement = run_sweep(second).statement
    rest = SweepCaps(train_step=first.rule.train_step.model_copy(update={"num_steps": 8}))
    assert ledger.terms_of("second").reused == {"train_step": 4}
    assert statement.epsilon_total == pytest.approx(first.epsilon + rest.epsilon(1e-5))
    assert statement.epsilon_here == second.epsilon == first.epsilon
    assert ledger.drawn("second", "train_step") == 12
    third = plan("name=third")
    reserved(third)  # the first one's tokens are gone
    assert ledger.terms_of("third").reused == {}
    assert ledger.spent(first_budget(ledger)).epsilon == pytest.approx(2 * first.epsilon + rest.epsilon(1e-5))


def first_budget(ledger) -> str:
    return ledger.budgets()[0].name


def test_what_is_left_serves_no_other_law_and_no_open_sweep_gives_it(plan, ledger):
    reserved(plan("name=first"))
    for name, override in (("open", "method.num_steps=4"), ("sigma", "privacy.noise_multiplier=5")):
        reserved(plan(f"name={name}", override))
        assert ledger.terms_of(name).reused == {}
        ledger.close("first")
    reserved(plan("name=batch", "privacy.expected_batch_size=9"))
    assert ledger.terms_of("batch").reused == {}


@pytest.mark.parametrize(
    "search",
    [
        ("search.menu=[{num_steps: 4, expected_batch_size: 8, noise_multiplier: 4}]", "privacy.epsilon=8"),
        ("search.release=best", "search.sampler=random", "search.seed=null", "privacy.noise_multiplier=4"),
    ],
)
def test_what_is_left_serves_no_search_that_is_counted_otherwise(plan, ledger, search):
    first = plan("name=first")
    reserved(first)
    ledger.close("first")
    second = plan("name=second", "privacy.noise_multiplier=null", *search)
    assert stated(second).epsilon_total == pytest.approx(first.epsilon + second.epsilon)
    assert ledger.terms_of("second").reused == {}


def test_all_tokens_left_over_cost_nothing_more_and_are_kept_on_a_second_start(plan, ledger):
    first = plan("name=first")
    reserved(first)
    ledger.close("first")
    for _ in range(2):
        assert stated(plan("name=second")).epsilon_total == first.epsilon


def test_a_run_without_privacy_counts_on_a_budget_without_limit_alone(plan, budget, ledger):
    budget(epsilon=100.0)
    with pytest.raises(BudgetExceeded, match="is not private, and budget 'reviews' is limited"):
        reserved(plan(*MEZO, "budget.name=reviews"))
    assert ledger.reservations() == []


def test_after_a_run_without_privacy_the_total_is_infinite(plan):
    before = plan("name=before")
    assert stated(before).epsilon_total == before.epsilon
    assert not stated(plan(*MEZO, "name=mezo")).private
    after = plan("name=after", "privacy.noise_multiplier=5")
    statement = stated(after)
    assert (statement.private, statement.epsilon_total, statement.delta_total) == (True, None, None)
    assert statement.epsilon_here == after.epsilon
    assert "total ε = ∞" in statement.text()
    assert any("not private" in warning for warning in statement.warnings)
    assert math.isinf(statement.epsilon)


def test_a_budget_that_is_a_renyi_filter_adds_up_at_its_order(plan, budget, ledger):
    order, epsilon, delta = 24.0, 2.0, 1e-5
    limit = renyi_limit(epsilon, delta, order)
    budget(epsilon=epsilon, delta=delta, composition="rdp", order=order, renyi_limit=limit)
    first = plan("name=first", "budget.name=reviews")
    one = first.rule.renyi(order)
    fits = int(limit // one)
    sum_would_fit = int(epsilon // first.epsilon)
    assert fits > sum_would_fit
    for number in range(fits):
        made = plan(f"name=s{number}", "budget.name=reviews")
        statement = stated(made)
        assert (statement.epsilon_total, statement.delta_total) == (epsilon, delta)  # declared, used up or not
        assert ledger.spent("reviews").renyi == pytest.approx((number + 1) * one)
    with pytest.raises(BudgetExceeded, match="Rényi divergence of order 24"):
        reserved(plan("name=last", "budget.name=reviews"))


@pytest.mark.parametrize("load", [load_run, load_sweep])
def test_a_delta_that_promises_nothing_is_warned_of_with_the_reason(plan, load):
    made = plan("privacy.delta=0.03", load=load)  # 40 examples: above 1/40
    (warning,) = stated(made).warnings
    assert warning == (
        "δ = 0.03 is at least 1 / 40. A mechanism that publishes one random record would satisfy it. Choose a much "
        "smaller δ."
    )
    assert "δ = 0.03 is at least 1 / 40" in " ".join(stated(made).text().split())


@pytest.mark.parametrize("load", [load_run, load_sweep])
def test_the_delta_of_everything_is_judged(plan, load):
    assert stated(plan("privacy.delta=0.02", "name=first", load=load)).warnings == ()
    (warning,) = stated(plan("privacy.delta=0.02", "name=second", "privacy.noise_multiplier=5", load=load)).warnings
    assert warning.startswith("δ = 0.04 is at least 1 / 40")


def test_the_statement_names_the_budget_and_its_limit(plan, budget, next_sweep):
    budget(epsilon=3.0)
    statement = run_training(plan("budget.name=reviews", load=load_run)).statement
    assert (statement.budget.name, statement.budget.epsilon_limit) == ("reviews", 3.0)
    assert "'reviews', at most ε = 3 at δ = 0.0001; costs add up" in " ".join(statement.text().split())
