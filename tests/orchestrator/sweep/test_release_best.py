"""`release: best`: nothing that leaves tells how many candidates there were, or anything of those that lost."""

import contextlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger import clock as ledger_clock
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.best_of import BestOf
from orchestrator.privacy.rules.planned_sweep import PlannedSweep
from orchestrator.privacy.rules.repetitions import Repetitions
from orchestrator.storage.paths import Storage, storage_of
from orchestrator.storage.results import result_json
from orchestrator.sweep import driver
from orchestrator.sweep.driver import run_sweep
from tests.support.inline import Killed, without_cluster
from trainers.mechanism.release_log import LOG_NAME, ReleaseLog

BEST = ("search.release=best", "search.sampler=random", "search.seed=null")
PRIVATE_SCORES = ("score.on=private", "score.num_examples=10")
WINS = {number: 0.9 if number == 1 else 0.5 for number in range(10)}


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


@pytest.fixture
def plan(settings):
    return lambda *overrides: make_plan(load_sweep(settings, [*BEST, *overrides]))


@pytest.fixture
def draws(monkeypatch):
    """Fix the secret numbers that are drawn, and the first settings."""

    def fix(*numbers: int) -> list[int]:
        left = list(numbers)
        monkeypatch.setattr(Repetitions, "draw_number", lambda self: left.pop(0))
        true = optuna.samplers.RandomSampler
        monkeypatch.setattr(optuna.samplers, "RandomSampler", lambda seed: true(seed=3))
        return left

    return fix


def released(storage: Storage) -> list[Path]:
    """Every file of the run's folder but the operator's."""
    files = [path for path in storage.folder.rglob("*") if path.is_file()]
    return [path for path in files if storage.operator_folder not in path.parents]


def told(result, storage: Storage) -> dict:
    """What a result and its log say, but for noise, places and the ledger's digest."""
    found = json.loads(result_json(result))
    del found["statement"]["ledger_digest"]
    lines = (storage.folder / LOG_NAME).read_text().splitlines()
    entries = [{k: v for k, v in json.loads(line).items() if k not in ("units", "chain")} for line in lines]
    return json.loads(json.dumps([found, entries]).replace(str(storage.root), "ROOT"))


def test_two_searches_of_the_same_winner_look_the_same(plan, next_sweep, draws, tmp_path):
    """One of two candidates, and one of seven after two kills, one of them in the winner."""
    left = draws(2, 7, 9, 9)
    few, many = plan(f"storage_path={tmp_path / 'few'}"), plan(f"storage_path={tmp_path / 'many'}")
    next_sweep(scores=WINS)
    first = run_sweep(few)
    for kill_after in (3, 5):
        next_sweep(scores=WINS, kill_after=kill_after)
        with pytest.raises(Killed):
            run_sweep(many)
    log = storage_of(many.config).trial_folder(1) / LOG_NAME
    with log.open("a") as file:
        file.write('{"type":"RES')  # what a kill in the middle of a line leaves
    next_sweep(scores=WINS)
    second = run_sweep(many)
    assert left == []  # drawn anew at every start, and only the first one counts
    assert told(first, storage_of(few.config)) == told(second, storage_of(many.config))
    numbers = [Ledger(storage_of(made.config).database_url).secret_of("test") for made in (few, many)]
    assert [number["num_trials"] for number in numbers] == [2, 7]


def test_tokens_that_a_kill_cost_the_winner_do_not_show(plan, next_sweep, draws):
    draws(2, 2)
    made = plan("privacy.spare_steps=3")
    storage = storage_of(made.config)
    next_sweep(scores=WINS, kill_after=4)
    with pytest.raises(Killed):
        run_sweep(made)
    log = storage.trial_folder(1) / LOG_NAME
    header = json.loads(log.read_text().splitlines()[0])["run"]
    with ReleaseLog(log, header) as entries:
        Ledger(storage.database_url).draw("test", "train_step", "trial-001", 4)
        entries.reserve("step", 2)  # a step that was interrupted
    next_sweep(scores=WINS)
    result = run_sweep(made)
    assert (result.best.number, result.best.steps, result.best.steps_charged) == (0, 4, 4)
    assert result.best.epsilon == made.epsilon_after(made.trial(result.best.values), 4)
    published = (storage.folder / LOG_NAME).read_text()
    assert (published.count("RESERVE"), published.count("RELEASE")) == (4, 4)


def test_no_file_that_leaves_holds_a_loser(plan, next_sweep, draws):
    draws(5)
    made = plan()
    inline = next_sweep(scores={0: 0.11, 1: 0.22, 2: 0.93, 3: 0.44, 4: 0.55})
    result = run_sweep(made)
    storage = storage_of(made.config)
    files = {path.relative_to(storage.folder).as_posix(): path.read_bytes() for path in released(storage)}
    assert set(files) == {
        "config.json",
        *(f"model/{name}" for name in ("README.md", "privacy_card.json", "theta.npy")),
        "privacy_statement.json",
        "privacy_statement.txt",
        "release_log.jsonl",
        "result.json",
    }
    everything = b"".join(files.values())
    losers = [values for values in inline.taken if values["number"] != 2]
    assert len(losers) == 4
    for values in losers:
        assert repr(values["method.learning_rate"]).encode() not in everything
    for score in (b"0.11", b"0.22", b"0.44", b"0.55"):
        assert score not in everything
    assert repr(result.best.values["method.learning_rate"]).encode() in everything  # the search would have found one
    assert (result.seconds, [row.number for row in result.trials]) == (None, [0])


def artefacts(result, storage: Storage) -> tuple[str, dict]:
    """Everything that may leave, but for noise, the winner's settings and keyed hashes; and the dates of its files."""
    paths = [storage.folder, storage.model_folder, *released(storage)]
    dates = {path.relative_to(storage.root).as_posix(): path.stat().st_mtime for path in paths}
    names = (
        *("config.json", "privacy_statement.txt", "privacy_statement.json"),
        *(f"model/{name}" for name in ("README.md", "privacy_card.json")),
    )
    texts = [told(result, storage), *((storage.folder / name).read_text() for name in names)]
    said = json.dumps([texts, Ledger(storage.database_url).export("private")]).replace(str(storage.root), "ROOT")
    for key, value in result.best.values.items():
        said = said.replace(repr(value), key)
    return re.sub("[0-9a-f]{64}", "HASH", said), dates


def test_what_leaves_is_dated_even_where_the_sweep_is_killed_while_it_cleans_up(plan, next_sweep, draws, monkeypatch):
    draws(2, 9)
    made = plan()
    next_sweep(scores=WINS)

    def kill(folder):
        raise Killed

    monkeypatch.setattr(driver, "remove_states", kill)
    with pytest.raises(Killed):
        run_sweep(made)
    storage = storage_of(made.config)
    assert len({path.stat().st_mtime for path in (storage.folder, storage.model_folder, *released(storage))}) == 1


def test_nothing_that_leaves_depends_on_the_number_of_candidates(plan, next_sweep, draws, tmp_path, monkeypatch):
    """The only candidate, or the last of seven on the third day: equal artefacts, dates included."""
    draws(1, 7)
    found = []
    for number in (1, 7):
        made = plan(f"storage_path={tmp_path / str(number)}")
        inline = next_sweep(scores={number - 1: 0.9} | dict.fromkeys(range(number - 1), 0.5))
        day = lambda: "2026-11-22" if len(inline.taken) < 4 else "2026-11-24"  # noqa: B023, E731
        monkeypatch.setattr(ledger_clock, "today", day)
        found.append(artefacts(run_sweep(made), storage_of(made.config)))
    (few, dates), (many, later_dates) = found
    assert few == many
    assert set(dates.values()) == {datetime(2026, 11, 22, tzinfo=UTC).timestamp()}
    assert later_dates == dates


def test_the_log_beside_the_model_is_a_log(plan, next_sweep, draws):
    draws(3)
    made = plan(*PRIVATE_SCORES)
    next_sweep(scores=WINS)
    run_sweep(made)
    storage = storage_of(made.config)
    own = storage.trial_folder(1) / LOG_NAME
    assert (storage.folder / LOG_NAME).read_bytes() == own.read_bytes()  # of a trial that nothing interrupted
    header = json.loads(own.read_text().splitlines()[0])["run"]
    with ReleaseLog(storage.folder / LOG_NAME, header) as log:
        assert (log.num_released("step"), log.num_released("score")) == (4, 2)


def test_a_secret_number_of_none_ends_and_releases_nothing(plan, next_sweep, draws):
    draws(0)
    made = plan("search.secret_number.law=poisson")
    inline = next_sweep()
    result = run_sweep(made)
    storage = storage_of(made.config)
    assert (inline.taken, result.best, result.trials, result.model_folder) == ([], None, [], None)
    assert {path.name for path in released(storage)} == {
        "config.json",
        "result.json",
        "privacy_statement.json",
        "privacy_statement.txt",
    }
    assert result.statement.epsilon == made.epsilon
    assert [cap.closed for cap in Ledger(storage.database_url).reservations()] == [True]


def test_statement_history_and_export_tell_no_number(plan, next_sweep, draws):
    draws(5)
    made = plan(*PRIVATE_SCORES)
    next_sweep()
    result = run_sweep(made)
    ledger = Ledger(storage_of(made.config).database_url)
    assert result.statement.tokens_drawn is None
    assert result.statement.caps == {"train_step": 4, "evaluation": 2}
    assert "stays with the operator" in result.statement.text()
    (budget,) = (budget for budget in ledger.budgets() if budget.name == "private")
    export = ledger.export(budget.name)
    assert [entry["drawn"] for entry in export["reservations"]] == [None]
    assert [row.tokens for row in ledger.history(budget.name) if row.entry == "closed"] == [None]
    largest = made.rule.number.largest
    assert export["reservations"][0]["max_holders"] == largest
    assert {kind: cap["count"] for kind, cap in export["reservations"][0]["caps"].items()} == {
        "train_step": 4 * largest,
        "evaluation": 2 * largest,
    }
    drawn = [cap.drawn for cap in ledger.reservations() if cap.name == "test"]
    assert drawn == [5 * 2, 5 * 4]  # which the operator sees


@pytest.mark.parametrize(
    ("law", "shape"), [("geometric", None), ("logarithmic", None), ("poisson", None), ("negative-binomial", 0.5)]
)
def test_epsilon_is_that_of_the_best_of_a_random_number(plan, law, shape):
    made = plan(f"search.secret_number.law={law}", *([f"search.secret_number.shape={shape}"] if shape else []))
    trial = PlannedSweep(
        num_trials=1, steps_per_trial=4, sampling_prob=8 / 40, noise_multiplier=4.0, num_coordinates=2
    ).caps()
    expected = BestOf(trial=trial, number=Repetitions(law=law, mean=3.0, shape=shape))
    assert made.epsilon == pytest.approx(expected.epsilon(1e-5), rel=1e-6)
    assert made.epsilon > made.trial_epsilon


def test_a_candidate_cannot_draw_beyond_its_own_cap(plan, draws):
    draws(3)
    made = plan("privacy.spare_steps=1", *PRIVATE_SCORES, "privacy.spare_scores=2")
    ledger = reserve_plan(made, storage_of(made.config)).ledger
    for kind, own in (("train_step", 5), ("evaluation", 4)):
        for step in range(own):
            ledger.draw("test", kind, "trial-000", step)
        with pytest.raises(BudgetExceeded, match=f"'trial-000' has drawn {own} of its {own}"):
            ledger.draw("test", kind, "trial-000", own)
        ledger.draw("test", kind, "trial-001", 0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("search.sampler=tpe", "Use sampler 'random', or release 'all'"),
        ("search.early_stopping=asha", "Use early_stopping 'none', or release 'all'"),
        ("search.seed=1", "a public seed would tell which settings were drawn"),
    ],
)
def test_what_is_adaptive_is_refused_with_both_ways_out(settings, override, words):
    with pytest.raises(ValueError, match=words):
        load_sweep(settings, [*BEST, override])


def test_candidates_of_a_search_that_goes_on_are_new_ones(plan, next_sweep, monkeypatch):
    monkeypatch.setattr(Repetitions, "draw_number", lambda self: 6)
    made, rates = plan(), []
    for kill_after in (2, 4, None):
        inline = next_sweep(kill_after=kill_after)
        with contextlib.suppress(Killed):
            run_sweep(made)
        rates += [(values["number"], values["method.learning_rate"]) for values in inline.taken]
    assert len({number for number, _ in rates}) == 6
    assert len(set(rates)) == 6  # one that was taken up keeps its settings, and no settings come twice
