"""What a program does with a result: the same from `run` as from the folder."""

import json

import pytest

from orchestrator import ConfigError, RunResult, Sweep, SweepResult, load_result, train
from orchestrator.config.loading import load_run
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.files import read_object
from orchestrator.storage.paths import storage_of
from tests.support.inline import Killed, without_cluster
from trainers.config import RunConfig
from trainers.mechanism.release_log import Stopped

BEST = {"search.release": "best", "search.sampler": "random", "search.seed": None}


@pytest.fixture
def next_sweep(monkeypatch):
    return without_cluster(monkeypatch)


@pytest.fixture
def result(settings, next_sweep):
    return Sweep(settings).run(progress=False)


def test_a_result_holds_what_a_program_asks_for(result, settings):
    assert isinstance(result, SweepResult)
    assert (result.epsilon, result.delta) == (result.statement.epsilon_total, 1e-5)
    assert isinstance(result.best.config, RunConfig)
    assert result.best.config.method.learning_rate == result.best.values["method.learning_rate"]
    assert result.best.config.privacy.noise_multiplier == 4.0
    assert result.tokens_left == {"train_step": 0}
    assert [trial.value for trial in result.study.trials] == [row.score for row in result.trials]
    assert result.plot("parallel").axes
    with pytest.raises(ValueError, match="plot: expected one of history"):
        result.plot("losses")


def test_a_result_in_two_lines_and_as_html(result):
    first, second = repr(result).splitlines()
    assert first.startswith("SweepResult of 'test': 3 trials, best ")
    assert second.startswith("ε = ")
    assert " at δ = 1e-05; in " in second
    assert result._repr_html_().count("<table") == 2


def test_a_row_a_trial_or_a_row_a_score(result):
    frame = result.dataframe()
    assert list(frame.columns) == ["state", "score", "steps", "steps_charged", "epsilon", "method.learning_rate"]
    assert list(frame.index) == [0, 1, 2]
    assert list(frame["score"]) == [row.score for row in result.trials]
    long = result.dataframe(long=True)
    assert list(long["steps"]) == [2, 4] * 3
    assert list(long["score"]) == [score for row in result.trials for score in row.scores]


def test_the_end_of_a_sweep_writes_its_report_once(result, reports):
    Sweep.open(result.folder).run(progress=False)
    assert reports == [result.folder]


def test_the_folder_has_the_same_result(result):
    loaded = load_result(result.folder)
    assert loaded == result
    assert repr(loaded) == repr(result)
    assert Sweep.open(result.folder).run(progress=False) == result


def test_a_sweep_that_was_finished_is_not_run_again(result, settings):
    ledger = Ledger(storage_of(load_run({k: v for k, v in settings.items() if k != "search"})).database_url)
    drawn = ledger.drawn("test", "train_step")
    assert Sweep(settings).run(progress=False) == result
    assert ledger.drawn("test", "train_step") == drawn


def test_under_release_best_the_result_is_the_winner_alone(settings, next_sweep):
    result = Sweep(settings, BEST).run(progress=False)
    assert (result.tokens_left, len(result.dataframe())) == (None, 1)
    assert repr(result).startswith("SweepResult of 'test': the winner of a secret number of trials, best ")
    with pytest.raises(ValueError, match="the trials are secret, and so is the study"):
        result.study  # noqa: B018


def test_a_folder_is_opened_and_goes_on(settings, next_sweep):
    sweep = Sweep(settings)
    with pytest.raises(ValueError, match="test: this sweep has not begun, so it has no trials"):
        sweep.dataframe()
    next_sweep(kill_after=3)
    with pytest.raises(Killed):
        sweep.run(progress=False)
    assert list(sweep.dataframe()["state"]) == ["complete", "interrupted"]
    folder = storage_of(sweep.config).folder
    with pytest.raises(ValueError, match=r"this sweep has not ended, so it has no result; Sweep\.open\("):
        load_result(folder)
    next_sweep()
    result = Sweep.open(folder).run(progress=False)
    assert [(row.number, row.state, row.steps_charged) for row in result.trials] == [
        (n, "complete", 4) for n in range(3)
    ]


def test_a_folder_of_another_version_is_refused_in_one_line(result):
    path = result.folder / "config.json"
    path.write_text(json.dumps(read_object(path) | {"colour": "blue"}))
    for open_it in (Sweep.open, load_result):
        with pytest.raises(
            ConfigError, match=r"cannot read its settings: .*unknown key.* Another version wrote them"
        ) as refused:
            open_it(result.folder)
        assert len(refused.value.lines) == 1


def test_a_run_has_a_result_like_a_sweep(settings, tmp_path):
    result = train(settings, progress=False)
    assert isinstance(result, RunResult)
    assert list(result.dataframe()["steps"]) == [2, 4]
    assert list(result.dataframe()["score"]) == result.scores
    assert repr(result).startswith("RunResult of 'test': 4 steps, ")
    assert load_result(result.folder) == result
    with pytest.raises(ValueError, match="this is one run, not a sweep"):
        Sweep.open(result.folder)
    exported = result.export(tmp_path / "model")
    assert (exported / "model.safetensors").read_bytes() == (result.model_folder / "model.safetensors").read_bytes()


def test_a_stop_before_a_run_changes_nothing_and_one_within_it_ends_it(settings, next_sweep):
    sweep, calls = Sweep(settings), []
    sweep.stop()

    def on_score(trial):
        calls.append(trial.number)
        if len(calls) == 3:
            sweep.stop()

    with pytest.raises(Stopped, match=r"interrupted\. Continue with: dpzo resume .*, or run\(\) in Python"):
        sweep.run(progress=False, on_score=on_score)
    assert calls == [0, 0, 1]
    assert [row.state for row in sweep.run(progress=False).trials] == ["complete"] * 3
