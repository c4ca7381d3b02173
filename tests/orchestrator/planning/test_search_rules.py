"""Menus, filters and tuning on public rows, as whole searches: what each trial pays, and what a kill changes."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.renyi_filter import RENYI_UNITS
from orchestrator.storage.paths import storage_of
from orchestrator.sweep.driver import run_sweep
from tests.support.inline import Killed, without_cluster
from trainers.mechanism.release_log import LOG_NAME

PRIVATE_SCORES = ("score.on=private", "score.num_examples=10")
MENU = (
    "privacy.noise_multiplier=null",
    "privacy.epsilon=8",
    "search.menu=[{num_steps: 4, expected_batch_size: 8, noise_multiplier: 4},"
    " {num_steps: 2, expected_batch_size: 16, epsilon: 0.5}]",
)
FILTER = (
    "privacy.noise_multiplier=null",
    "privacy.epsilon=2",
    "search.filter={order: 16, space: {privacy.noise_multiplier: {low: 3.0, high: 8.0},"
    " privacy.expected_batch_size: {low: 4.0, high: 12.0}, method.num_steps: {low: 2, high: 5}}}",
)


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


@pytest.fixture
def plan(settings):
    return lambda *overrides: make_plan(load_sweep(settings, overrides))


def header(storage, number) -> dict:
    return json.loads((storage.trial_folder(number) / LOG_NAME).read_text().splitlines()[0])["run"]


def released(storage, number) -> int:
    return (storage.trial_folder(number) / LOG_NAME).read_text().count('"type":"RELEASE"')


def test_each_trial_of_a_menu_draws_from_its_entry_alone(plan, next_sweep):
    made = plan(*MENU, *PRIVATE_SCORES, "search.num_trials=5")
    inline = next_sweep()
    result = run_sweep(made)
    storage = storage_of(made.config)
    ledger = Ledger(storage.database_url)
    taken = {values["number"]: values["menu"] for values in inline.taken}
    assert set(taken.values()) == {0, 1}
    assert {kind: cap.count for kind, cap in made.rule.tokens().items()} == {
        "train_step/0": 5 * 4,
        "train_step/1": 5 * 2,
        "evaluation/0": 5 * 2,
        "evaluation/1": 5 * 2,
    }
    for number, entry in taken.items():
        drawn = {kind: ledger.drawn("test", kind, f"trial-{number:03d}") for kind in made.rule.tokens()}
        assert {kind: count for kind, count in drawn.items() if count} == {
            f"train_step/{entry}": (4, 2)[entry],
            f"evaluation/{entry}": 2,
        }
        assert (
            header(storage, number)["mechanism.noise_multiplier"]
            == made.rule.entries[entry].train_step.noise_multiplier
        )
        assert header(storage, number)["mechanism.sampling_prob"] == pytest.approx((8, 16)[entry] / 40)
    assert result.statement.epsilon == made.epsilon == made.rule.epsilon(1e-5)
    assert {row.number: row.num_steps for row in result.trials} == {n: (4, 2)[entry] for n, entry in taken.items()}
    assert not [cap for cap in ledger.reservations() if ledger.leftover(cap.budget, cap.cap.parameters)]


def test_the_noise_of_an_entry_is_calibrated_to_what_one_trial_may_cost(plan):
    made = plan(*MENU, *PRIVATE_SCORES)
    assert made.noise_multipliers[0] == 4.0
    trial = PlannedSweep(
        num_trials=1,
        steps_per_trial=2,
        sampling_prob=16 / 40,
        noise_multiplier=made.noise_multipliers[1],
        num_coordinates=2,
        evaluations_per_trial=2,
        evaluation_noise_multiplier=20.0,
    ).caps()
    assert 0.495 < trial.epsilon(1e-5) <= 0.5
    assert made.rule.entries[1].epsilon(1e-5) == pytest.approx(trial.epsilon(1e-5))
    assert made.trial_epsilon == max(entry.epsilon(1e-5) for entry in made.rule.entries)


def test_a_stopped_trial_of_a_menu_gives_nothing_to_others(plan, next_sweep):
    made = plan(*MENU)
    next_sweep(stop_after={0: 1, 1: 1})
    result = run_sweep(made)
    assert [row.state for row in result.trials] == ["stopped early", "stopped early", "complete"]
    ledger = Ledger(storage_of(made.config).database_url)
    for cap in ledger.reservations():
        assert ledger.leftover(cap.budget, cap.cap.parameters) == 0
    assert result.statement.epsilon == made.epsilon


def test_a_trial_goes_on_under_its_entry_and_there_are_only_so_many(plan, next_sweep):
    made = plan(*MENU)
    before = next_sweep(kill_after=1)
    with pytest.raises(Killed):
        run_sweep(made)
    after = next_sweep()
    result = run_sweep(made)
    assert after.taken[0] == before.taken[0]  # number, entry and settings
    assert len(result.trials) == 3
    ledger = Ledger(storage_of(made.config).database_url)
    entry = after.taken[0]["menu"]
    assert ledger.drawn("test", f"train_step/{entry}", "trial-000") == (4, 2)[entry]


def test_the_ledger_holds_a_menu_to_its_trials_and_a_trial_to_its_entry(plan):
    made = plan(*MENU, *PRIVATE_SCORES)
    ledger = reserve_plan(made, storage_of(made.config)).ledger
    for number in range(3):
        ledger.draw("test", f"train_step/{number % 2}", f"trial-{number:03d}", 0)
        ledger.draw("test", f"evaluation/{number % 2}", f"trial-{number:03d}", 0)
    for kind in ("train_step/0", "evaluation/1"):
        with pytest.raises(BudgetExceeded, match="'test' is reserved for 3 trials, and 'trial-003' would be one more"):
            ledger.draw("test", kind, "trial-003", 0)
    for kind in ("train_step/1", "evaluation/1"):
        with pytest.raises(BudgetExceeded, match="a trial takes one entry of a menu"):
            ledger.draw("test", kind, "trial-000", 0)
    ledger.draw("test", "train_step/1", "trial-001", 1)
    with pytest.raises(BudgetExceeded, match="has drawn 2 of its 2 'train_step/1'"):
        ledger.draw("test", "train_step/1", "trial-001", 2)


def test_each_trial_under_a_filter_pays_its_own_price(plan, next_sweep):
    made = plan(*FILTER, *PRIVATE_SCORES, "search.num_trials=4", "privacy.epsilon=5")
    inline = next_sweep()
    result = run_sweep(made)
    storage = storage_of(made.config)
    ledger = Ledger(storage.database_url)
    expected, prices = 0, set()
    for values in inline.taken:
        trial = made.trial({name: value for name, value in values.items() if name != "number"})
        draws = made.trial_draws(trial)
        assert trial.privacy.noise_multiplier == values["privacy.noise_multiplier"]
        steps, scores = values["method.num_steps"], 2
        expected += steps * draws["step"].price + scores * draws["score"].price
        prices.add(draws["step"].price)
        found = header(storage, values["number"])
        assert found["mechanism.num_steps"] == steps
        assert found["mechanism.noise_multiplier"] == pytest.approx(values["privacy.noise_multiplier"])
        assert found["mechanism.sampling_prob"] == pytest.approx(values["privacy.expected_batch_size"] / 40)
    (cap,) = (cap for cap in ledger.reservations() if cap.name == "test")
    assert (cap.kind, cap.drawn, len(prices)) == (RENYI_UNITS, expected, 4)
    assert expected < cap.cap.count
    assert result.statement.epsilon == made.epsilon == pytest.approx(5, abs=1e-6)


def test_a_filter_refuses_when_it_is_spent_and_the_trial_ends_early(plan, next_sweep):
    made = plan(*FILTER, "search.num_trials=40")
    storage = storage_of(made.config)
    with contextlib.suppress(Killed):
        next_sweep(kill_after=7)
        run_sweep(made)
    (cap,) = Ledger(storage.database_url).reservations()
    before = cap.drawn
    next_sweep()
    result = run_sweep(made)
    (cap,) = Ledger(storage.database_url).reservations()
    assert 0 < before < cap.drawn <= cap.cap.count == made.rule.capacity()
    ended_early = [row for row in result.trials if row.steps < row.num_steps]
    assert ended_early
    assert all(row.num_steps == row.values["method.num_steps"] for row in result.trials)
    cheapest = min(made.trial_draws(made.trial(row.values))["step"].price for row in ended_early)
    assert cap.cap.count - cap.drawn < cheapest  # nothing is left that one of them could have paid with
    assert 1.999 < result.statement.epsilon <= 2  # the declared one, spent or not
    releases = sum(released(storage, row.number) for row in result.trials)
    assert releases == Ledger(storage.database_url).drawn("test", RENYI_UNITS)


def test_a_filter_counts_what_is_released_at_its_order(plan):
    """The realised prices, composed by hand, stay within the declared ε."""
    made = plan(*FILTER)
    trial = made.trial(
        {
            "method.learning_rate": 1e-3,
            "privacy.noise_multiplier": 3.0,
            "privacy.expected_batch_size": 12.0,
            "method.num_steps": 5,
        }
    )
    steps = made.rule.capacity() // made.trial_draws(trial)["step"].price
    known = {"num_trials": 1, "sampling_prob": 12 / 40, "noise_multiplier": 3.0, "num_coordinates": 2}
    assert PlannedSweep(steps_per_trial=steps, **known).caps().epsilon(1e-5) <= 2
    assert PlannedSweep(steps_per_trial=2 * steps, **known).caps().epsilon(1e-5) > 2


def test_prices_are_renyi_divergences_at_the_declared_order(plan):
    """Of a Gaussian with a shift of 1/σ: α/(2σ²), in units of 2^-40; so is a batch of everyone."""
    made = plan(*FILTER, *PRIVATE_SCORES, "score.noise_multiplier=7")
    everyone = {"privacy.noise_multiplier": 3.0, "privacy.expected_batch_size": 40.0, "method.num_steps": 2}
    draws = made.trial_draws(made.trial(everyone))
    assert draws["score"].price == pytest.approx(16 / (2 * 7**2) * 2**40, rel=1e-6)
    assert draws["step"].price == pytest.approx(16 / (2 * 3**2) * 2**40, rel=1e-6)
    half = made.trial_draws(made.trial(everyone | {"privacy.expected_batch_size": 20.0}))
    assert half["step"].price < 0.9 * draws["step"].price
    assert {draw.kind for draw in draws.values()} == {RENYI_UNITS}


@pytest.fixture
def tuned(settings, tmp_path):
    """A sweep that tunes on a public file."""
    public = tmp_path / "synthetic.jsonl"
    rows = Path(settings["data"]["train"]).read_text().splitlines()
    public.write_text("\n".join(rows[:12]) + "\n")
    return lambda *overrides: make_plan(load_sweep(settings, [f"search.tune_on={public}", *overrides]))


def test_trials_on_public_rows_cost_nothing_and_one_private_run_follows(tuned, next_sweep, settings):
    made = tuned("search.num_trials=3")
    inline = next_sweep(scores={0: 0.2, 1: 0.9, 2: 0.4})
    result = run_sweep(made)
    storage = storage_of(made.config)
    ledger = Ledger(storage.database_url)
    assert len(inline.taken) == 3
    assert {r.kind: (r.cap.count, r.drawn) for r in ledger.reservations()} == {"train_step": (4, 4)}
    assert ledger.drawn("test", "train_step", "run") == 4
    assert [row.epsilon for row in result.trials] == [0.0] * 3
    own = json.loads((storage.folder / LOG_NAME).read_text().splitlines()[0])["run"]
    assert own["method.learning_rate"] == inline.taken[1]["method.learning_rate"]
    assert own["data.train"] == Path(settings["data"]["train"]).name
    assert header(storage, 0)["data.train"] == Path(made.config.search.tune_on).name
    one = make_plan(load_run({key: value for key, value in settings.items() if key != "search"}))
    assert result.statement.epsilon == made.epsilon == one.epsilon
    assert result.statement.caps == {"train_step": 4}
    tune_on = Path(made.config.search.tune_on).name
    assert f"examples that all trials trained on ({tune_on})" in result.statement.public_data
    assert "3 trials on public rows" in result.statement.search
    assert result.statement.epsilon_by_other_rules == {}
    assert result.private_score is not None
    assert (storage.model_folder / "theta.npy").exists()


def test_tuning_and_its_private_run_go_on_from_any_point(tuned, next_sweep, monkeypatch):
    made = tuned("search.num_trials=2", "privacy.spare_steps=1")
    storage = storage_of(made.config)
    next_sweep(kill_after=3)
    with pytest.raises(Killed):
        run_sweep(made)
    assert [cap.drawn for cap in Ledger(storage.database_url).reservations()] == [0]
    next_sweep()
    draw, count = Ledger.draw, []

    def dies_at_the_third(self, *args, **kwargs):
        count.append(1)
        if len(count) == 3:
            raise Killed
        return draw(self, *args, **kwargs)

    monkeypatch.setattr(Ledger, "draw", dies_at_the_third)
    with pytest.raises(Killed):
        run_sweep(made)
    first = (storage.folder / LOG_NAME).read_text()
    inline = next_sweep()
    result = run_sweep(made)
    assert inline.taken == []  # all trials had ended
    assert (storage.folder / LOG_NAME).read_text().startswith(first)
    assert [cap.drawn for cap in Ledger(storage.database_url).reservations()] == [4]
    assert (result.statement.caps, len(result.trials)) == ({"train_step": 5}, 2)


def copied(settings, tmp_path) -> str:
    rows = Path(settings["data"]["train"]).read_text().splitlines()
    path = tmp_path / "innocent.jsonl"
    path.write_text("\n".join(reversed(rows)) + "\n")  # in another order
    return str(path)


def linked(settings, tmp_path) -> str:
    (tmp_path / "link.jsonl").symlink_to(Path(settings["data"]["train"]))
    return str(tmp_path / "link.jsonl")


@pytest.mark.parametrize("disguise", [lambda settings, _: settings["data"]["train"], copied, linked])
def test_private_rows_are_not_tuned_on_for_nothing(settings, tmp_path, next_sweep, disguise):
    made = make_plan(load_sweep(settings, [f"search.tune_on={disguise(settings, tmp_path)}"]))
    inline = next_sweep()
    with pytest.raises(
        ValueError, match=r"search\.tune_on (holds rows of data\.train, which are private|is data\.train itself)"
    ):
        run_sweep(made)
    assert inline.taken == []


def test_trials_do_not_train_on_what_they_are_scored_on(settings, tmp_path, next_sweep):
    public = shutil.copy(settings["data"]["validation"], tmp_path / "public.jsonl")
    settings["data"]["validation"] = str(public)
    made = make_plan(load_sweep(settings, [f"search.tune_on={public}"]))
    with pytest.raises(ValueError, match=r"search\.tune_on is data\.validation"):
        run_sweep(made)
