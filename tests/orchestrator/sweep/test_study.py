import math
import shutil
import warnings

import optuna
import pytest
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState
from sqlalchemy import create_engine, text

from orchestrator.storage.trials import TrialRow
from orchestrator.sweep.monitor import WorkFacts
from orchestrator.sweep.samplers import EvenSampler
from orchestrator.sweep.study import METRIC, DrawnTokens, TruthfulSearch, open_search
from orchestrator.sweep.study_view import trials_of
from search_spaces.config import SearchConfig

SPACE = {
    "method.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "method.direction": {"choices": ["gaussian", "rademacher"]},
}


@pytest.fixture(scope="module")
def new_database(tmp_path_factory):
    """A database with Optuna's tables and the sweep's study in it; making one takes a second."""
    path = tmp_path_factory.mktemp("study") / "dpzo.db"
    open_again(f"sqlite:///{path}")
    return path


@pytest.fixture
def url(tmp_path, new_database):
    return f"sqlite:///{shutil.copy(new_database, tmp_path)}"


@pytest.fixture
def search(url):
    return open_again(url)


def open_again(url, sampler="random", num_trials=4) -> TruthfulSearch:
    """Open the sweep's search, as each process does once."""
    config = SearchConfig.model_validate({"num_trials": num_trials, "sampler": sampler, "seed": 1, "space": SPACE})
    return open_search(config, num_trials, "sweep", url)


def trials(url) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="sweep", storage=url).trials


def result(iteration, score, *, steps=None, finished=False) -> dict[str, object]:
    """One result of a lane, as Tune hands it on."""
    steps = 10 * iteration if steps is None else steps
    counts = {"training_iteration": iteration, "steps": steps, "steps_charged": steps + 1, "epsilon": steps / 8}
    counts["num_steps"] = 4
    return {METRIC: score, "finished": finished, "done": finished, **counts}


def test_a_suggestion_is_flat_and_carries_its_number(search, url):
    first, second = search.suggest("a"), search.suggest("b")
    assert (first["number"], second["number"]) == (0, 1)
    assert 1e-4 <= first["method.learning_rate"] <= 1e-2
    assert first["method.direction"] in ("gaussian", "rademacher")
    assert [trial.user_attrs["tune_trial_id"] for trial in trials(url)] == ["a", "b"]
    assert {**trials(url)[1].params, "number": 1} == second


def test_a_trial_that_is_asked_for_again_keeps_its_values(search, url):
    assert search.suggest("a") == search.suggest("a")
    assert len(trials(url)) == 1


def test_more_is_better(search, url):
    study = optuna.load_study(study_name="sweep", storage=url)
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    for name, score in (("a", 0.4), ("b", 0.9), ("c", 0.6)):
        search.suggest(name)
        search.on_trial_complete(name, result(1, score, finished=True))
    assert study.best_trial.number == 1


def test_a_finished_trial_is_complete(search, url):
    search.suggest("a")
    search.on_trial_result("a", result(1, 0.6))
    search.on_trial_complete("a", result(2, 0.7, steps=20, finished=True))
    (trial,) = trials(url)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.7)
    assert trial.intermediate_values == {10: 0.6, 20: 0.7}  # Tune hands the last result to on_trial_complete alone


def test_a_trial_that_the_scheduler_stopped_is_pruned(search, url):
    search.suggest("a")
    search.on_trial_result("a", result(1, 0.6))
    search.on_trial_complete("a", result(2, 0.4, steps=20))
    (trial,) = trials(url)
    assert (trial.state, trial.value) == (TrialState.PRUNED, 0.4)
    assert trial.intermediate_values == {10: 0.6, 20: 0.4}


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_finished_trial_without_a_score_has_failed(search, url, score):
    search.suggest("a")
    search.on_trial_complete("a", result(1, score, finished=True))
    assert [(trial.state, trial.value) for trial in trials(url)] == [(TrialState.FAIL, None)]
    assert trials(url)[0].user_attrs["steps"] == 10  # it took them all the same


def test_a_trial_that_died_has_failed(search, url):
    search.suggest("a")
    search.on_trial_result("a", result(1, 0.6))
    search.on_trial_complete("a", error=True)
    search.suggest("b")
    search.on_trial_complete("b", None, error=True)
    assert [trial.state for trial in trials(url)] == [TrialState.RUNNING] * 2  # could still be taken up
    search.fail_the_failed()
    assert [(trial.state, trial.value) for trial in trials(url)] == [(TrialState.FAIL, None)] * 2


def test_a_score_that_is_not_finite_is_none_along_the_way(search, url):
    search.suggest("a")
    search.on_trial_result("a", result(1, math.nan, steps=5))
    search.on_trial_result("a", result(2, 0.5, steps=10))
    (trial,) = trials(url)
    assert trial.intermediate_values == {10: 0.5}
    assert trial.user_attrs["steps"] == 10


def test_a_restarted_trial_repeats_its_results_in_silence(search, url, caplog):
    search.suggest("a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for iteration, score in ((1, 0.5), (2, 0.6), (1, 0.5), (2, 0.6), (3, 0.7)):
            search.on_trial_result("a", result(iteration, score))
    assert trials(url)[0].intermediate_values == {10: 0.5, 20: 0.6, 30: 0.7}
    assert not caplog.records


def test_a_trial_ends_once(search, url, caplog):
    search.suggest("a")
    search.on_trial_complete("a", result(1, 0.7, finished=True))
    search.on_trial_complete("a", error=True)
    assert [(trial.state, trial.value) for trial in trials(url)] == [(TrialState.COMPLETE, 0.7)]
    assert not caplog.records


def test_what_a_killed_process_left_is_taken_up_first_and_as_it_was(search, url):
    left = [search.suggest("a"), search.suggest("b"), search.suggest("c")]
    search.on_trial_result("c", result(1, 0.5))
    search.on_trial_complete("b", result(1, 0.9, finished=True))
    again = open_again(url)
    assert [again.suggest("x"), again.suggest("y")] == [left[0], left[2]]
    assert again.suggest("z")["number"] == 3
    again.on_trial_result("y", result(1, 0.5))  # a replay reports what is known
    again.on_trial_complete("y", result(2, 0.8, finished=True))
    assert [trial.state.name for trial in trials(url)] == ["RUNNING", "COMPLETE", "COMPLETE", "RUNNING"]
    assert [trial.user_attrs["tune_trial_id"] for trial in trials(url)] == ["x", "b", "y", "z"]


def test_trials_that_ended_earlier_come_as_rows(search, url):
    values = [search.suggest(name) for name in "abcd"]
    for name in "abcd":
        search.on_trial_result(name, result(1, 0.5))
    search.on_trial_complete("a", result(2, 0.6, steps=20, finished=True))
    search.on_trial_complete("b", error=True)
    search.on_trial_complete("c", result(2, 0.4, steps=20))
    search.fail_the_failed()
    rows = open_again(url).ended_trials()  # the fourth was running
    found = [(row.number, row.state, row.scores, row.steps, row.steps_charged, row.epsilon) for row in rows]
    assert found == [
        (0, "complete", [0.5, 0.6], 20, 21, 2.5),
        (1, "failed", [0.5], 10, 11, 1.25),
        (2, "stopped early", [0.5, 0.4], 20, 21, 2.5),
    ]
    assert [{**row.values, "number": row.number} for row in rows] == values[:3]


def test_a_new_study_has_no_trials_that_ended(search):
    assert search.ended_trials() == []


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "qmc", "nsga2"])
def test_a_search_that_goes_on_does_not_repeat_itself(url, sampler):
    first = open_again(url, sampler).suggest("a")
    again = open_again(url, sampler)
    taken_up, second = again.suggest("x"), again.suggest("y")
    assert taken_up == first
    assert second["method.learning_rate"] != first["method.learning_rate"]


def test_the_sampler_is_the_configured_one(url):
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler, "auto": EvenSampler}
    for name, kind in kinds.items():
        assert isinstance(open_again(url, name)._ot_study.sampler, kind)


def test_tpe_learns_from_the_first_trials_of_a_sweep(tmp_path, new_database):
    """Ten is a large sweep here; Optuna's own default draws the first ten at random."""
    chosen = {}
    for sampler in ("tpe", "random"):
        (tmp_path / sampler).mkdir()
        search = open_again(f"sqlite:///{shutil.copy(new_database, tmp_path / sampler)}", sampler, num_trials=10)
        chosen[sampler] = []
        for number in range(10):
            chosen[sampler].append(search.suggest(str(number))["method.learning_rate"])
            search.on_trial_complete(str(number), result(1, number / 10, finished=True))
    assert chosen["tpe"][:3] == chosen["random"][:3]
    assert not set(chosen["tpe"][3:]) & set(chosen["random"][3:])


def test_a_dashboard_shows_the_metric_and_what_the_sweep_costs(url):
    config = SearchConfig.model_validate({"num_trials": 4, "space": SPACE})
    search = open_search(config, 4, "sweep", url, metric="accuracy")
    search.describe(epsilon=3.0, caps={"train_step": 12}, state="running")
    study = optuna.load_study(study_name="sweep", storage=url)
    assert study.metric_names == ["accuracy"]
    assert study.user_attrs == {"epsilon": 3.0, "caps": {"train_step": 12}, "state": "running"}


def test_a_trial_of_an_older_version_keeps_its_scores(search, url):
    """Scores stood under 1, 2, 3 and now stand under steps; a resumed trial repeats the old ones."""
    search.suggest("a")
    search._ot_trials["a"].report(0.5, 1)
    search.on_trial_result("a", result(1, 0.5))
    search.on_trial_result("a", result(2, 0.6))
    assert trials(url)[0].intermediate_values == {1: 0.5, 20: 0.6}


def test_the_tokens_that_are_drawn_follow_the_scores(search, url):
    counted = DrawnTokens(search)
    counted.on_start(WorkFacts("sweep", "sweep", "accuracy", 4, ended=[TrialRow(0, {}, "complete", 4, 5)]))
    for steps in (2, 4):
        counted.on_score(TrialRow(1, {}, steps=steps, steps_charged=steps))
    assert optuna.load_study(study_name="sweep", storage=url).user_attrs["tokens_drawn"] == 9


def test_whoever_looks_writes_nothing_while_the_tables_are_made(tmp_path):
    """Optuna marks its tables as made when it opens them; a second mark ends the sweep that is making them."""
    engine = create_engine(url := f"sqlite:///{tmp_path}/dpzo.db")
    BaseModel.metadata.create_all(engine)
    assert trials_of(url, "sweep") == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM version_info")).scalar() == 0
    engine.dispose()
    open_again(url).suggest("a")
    assert [row.number for row in trials_of(url, "sweep")] == [0]


def searching(url, **settings):
    config = SearchConfig.model_validate({"num_trials": 9, "sampler": "random", "space": SPACE, **settings})
    return open_search(config, 9, "sweep", url)


def test_settings_that_are_given_are_tried_first_and_once(url):
    first = [{"method.learning_rate": 3e-3}, {"method.learning_rate": 2e-3, "method.direction": "gaussian"}]
    assert searching(url, first=first).suggest("a")["method.learning_rate"] == 3e-3
    assert [row.number for row in trials_of(url, "sweep")] == [0]  # the other one has not begun
    again = searching(url, first=first)
    taken = [again.suggest(name) for name in ("a", "b", "c")]
    assert [values["method.learning_rate"] for values in taken[:2]] == [3e-3, 2e-3]
    assert taken[1]["method.direction"] == "gaussian"
    assert taken[2]["method.learning_rate"] not in (3e-3, 2e-3)
    assert len(trials_of(url, "sweep")) == 3


def test_no_trial_begins_after_some_without_gain(url):
    search = searching(url, trials_without_gain=2)
    for number, score in enumerate((0.5, 0.7, 0.6, 0.7)):
        assert search.has_another()
        search.suggest(str(number))
        search.on_trial_complete(str(number), result(1, score, finished=True))
    assert not search.has_another()
    assert search.suggest("more") == "FINISHED"


def test_no_trial_begins_after_the_time_and_one_that_was_left_is_resumed(url):
    searching(url).suggest("a")
    late = searching(url, time_s=1e-9)
    assert late.has_another()
    assert late.suggest("a")["number"] == 0
    assert late.suggest("b") == "FINISHED"
