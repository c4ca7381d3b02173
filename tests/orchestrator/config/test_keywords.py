"""Settings as keywords of a Python call, and overrides as a mapping."""

import pytest

from orchestrator.config.errors import ConfigError
from orchestrator.config.keywords import overrides_of
from orchestrator.config.loading import load_sweep


def test_a_keyword_is_a_section_its_main_key_or_a_key_of_one_section():
    space = {"method.learning_rate": {"low": 1e-4, "high": 1e-2}}
    given = {"data": {"train": "a", "num_examples": 4}, "model": "opt", "method": "dp-zo", "epsilon": 3, "space": space}
    assert overrides_of({"name": "n", **given}) == {
        "name": "n",
        "data.train": "a",
        "data.num_examples": 4,
        "model.path": "opt",
        "method.name": "dp-zo",
        "privacy.epsilon": 3,
        "search.space": space,
    }


def test_a_keyword_that_is_no_setting_or_several_is_refused_with_a_way_out():
    with pytest.raises(ConfigError) as refused:
        overrides_of({"trials": 3, "metric": "f1", "score": 3})
    assert refused.value.lines[0].startswith("trials: unknown setting. Did you mean 'num_trials' (search.num_trials)?")
    assert refused.value.lines[1].startswith("metric: may be task.metric or score.metric: give it in its section")
    assert refused.value.lines[2] == "score: is a section: give a mapping of its keys, got int"


def test_overrides_may_be_a_mapping_of_any_values(settings):
    space = {"method.smoothing": {"low": 0.001, "high": 0.01}}
    config = load_sweep(settings, {"search.num_trials": 7, "search.space": space, "task.template": "null {text}"})
    assert (config.search.num_trials, list(config.search.parameters)) == (7, ["method.smoothing"])
    assert config.task.template == "null {text}"
    config = load_sweep(settings, {"search.space.method.learning_rate.low": 5e-4})
    assert config.search.parameters["method.learning_rate"].low == 5e-4


def test_overrides_that_cannot_be_applied_are_refused(settings):
    with pytest.raises(ConfigError, match=r"search\.num_trial: unknown key\. Did you mean 'num_trials'"):
        load_sweep(settings, {"search.num_trial": 7})
    with pytest.raises(ConfigError, match=r"name\.x: name is 'test': it is not a mapping"):
        load_sweep(settings, {"name.x": 7})
    with pytest.raises(ConfigError, match="3: expected a dotted key"):
        load_sweep(settings, {3: 7})
    with pytest.raises(ConfigError, match="overrides: expected a list of texts 'key=value', or a mapping"):
        load_sweep(settings, "search.num_trials=7")
