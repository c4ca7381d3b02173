"""A sweep that learns from the trials of an earlier one."""

import pytest

from orchestrator.budget.reservation import reserve_plan
from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.storage.results import write_config
from orchestrator.sweep.study import METRIC, open_search
from orchestrator.sweep.study_view import trials_of
from orchestrator.sweep.warm_start import earlier_trials

WARM = ["name=later", "search.warm_start=earlier", "search.num_trials=4", "search.sampler=tpe", "search.startup=1"]


@pytest.fixture
def earlier(settings):
    """A sweep with two complete trials and one that was stopped."""
    config = with_absolute_paths(load_sweep(settings, ["name=earlier", "search.sampler=random", "search.seed=1"]))
    storage = storage_of(config)
    storage.folder.mkdir(parents=True, exist_ok=True)
    reserve_plan(make_plan(config), storage)
    write_config(storage, config)
    search = open_search(config.search, 3, "earlier", storage.database_url)
    for number in range(3):
        search.suggest(str(number))
        result = {METRIC: number / 10, "finished": number < 2, "training_iteration": 1, "steps": 4}
        search.on_trial_complete(str(number), result)
    return storage


def later(settings, *overrides):
    return with_absolute_paths(load_sweep(settings, [*WARM, *overrides]))


def test_only_the_sampler_knows_the_earlier_trials(settings, earlier):
    config = later(settings)
    found = earlier_trials(config, earlier)
    assert [trial.value for trial in found] == [0.0, 0.1]
    search = open_search(config.search, 4, "later", earlier.database_url, earlier=found)
    assert search.ended_trials() == []
    assert search.suggest("a")["number"] == 2
    assert [row.number for row in trials_of(earlier.database_url, "later")] == [2]
    again = open_search(config.search, 4, "later", earlier.database_url, earlier=found)
    assert len(again._study.trials) == 3  # they came once


def test_the_statement_names_where_scores_come_from(settings, earlier):
    assert "chosen by TPE from earlier scores (and from those of earlier)" in make_plan(later(settings)).search_text


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["search.warm_start=nobody"], r"nobody: there is no config\.json"),
        (["data.validation=other.jsonl"], r"data\.validation of 'earlier' is .*do not compare"),
        (["search.space.method.learning_rate={low: 5, high: 6}"], r"no finished trial of 'earlier' lies in this"),
        (["search.space.method.momentum={low: 0.1, high: 0.2}"], r"no finished trial of 'earlier' lies in this"),
    ],
)
def test_scores_that_say_nothing_here_are_refused(settings, earlier, overrides, complaint):
    with pytest.raises(ValueError, match=complaint):
        earlier_trials(later(settings, *overrides), earlier)


@pytest.mark.parametrize("setting", ["warm_start=earlier", "first=[{method.learning_rate: 0.001}]", "time_s=5"])
def test_a_search_of_one_winner_takes_none_of_it(settings, setting):
    with pytest.raises(ConfigError, match=f"search.{setting.partition('=')[0]}: .*release 'best'"):
        load_sweep(settings, ["search.release=best", f"search.{setting}"])
