import json
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM

import orchestrator
from orchestrator import ConfigError, Sweep, SweepConfig, plan, train
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.config.models import LedgeredConfig
from orchestrator.privacy.errors import BudgetExceeded
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import storage_of
from trainers.mechanism.release_log import LOG_NAME


def test_what_a_program_imports():
    names = {"Budget", "ConfigError", "DpzoError", "RunResult", "Sweep", "SweepConfig", "SweepResult", "load_result"}
    assert set(orchestrator.__all__) == names | {"plan", "train"}
    assert all(getattr(orchestrator, name).__name__ == name for name in orchestrator.__all__)
    with pytest.raises(AttributeError, match="no attribute 'search'"):
        orchestrator.search  # noqa: B018


def test_a_sweep_is_made_from_a_file_a_mapping_or_a_configuration(settings, tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    configs = [Sweep(source).config for source in (path, str(path), settings, load_sweep(settings))]
    assert all(config == configs[0] for config in configs)
    assert isinstance(configs[0], SweepConfig)


def test_overrides_are_as_on_the_command_line(settings):
    assert Sweep(settings, ["search.num_trials=7"]).config.search.num_trials == 7
    assert plan(settings, ["search.num_trials=7"]).num_trials == 7
    with pytest.raises(ConfigError, match="unknown key"):
        Sweep(settings, ["search.trials=7"])


def test_a_plan_is_made_once(settings):
    sweep = Sweep(settings)
    assert sweep.plan() is sweep.plan()
    assert sweep.plan().epsilon == plan(settings).epsilon


def test_a_plan_is_of_a_sweep_where_there_is_a_search_else_of_a_run(settings):
    assert plan(settings).num_trials == 3
    assert plan(load_sweep(settings)).num_trials == 3
    del settings["search"]
    assert plan(settings).num_trials == 1
    assert plan(load_run(settings)).num_trials == 1


def test_a_plan_that_does_not_fit_is_refused(settings):
    with pytest.raises(BudgetExceeded, match=r"over the budget of 0\.1"):
        Sweep(settings, ["privacy.epsilon=0.1"]).plan()


def test_a_run_is_no_sweep(settings):
    run = load_run(settings)
    assert type(run) is LedgeredConfig
    with pytest.raises(ConfigError, match="search: missing"):
        Sweep(run)


def test_a_run_is_taken_to_its_end_and_goes_on_from_there(settings):
    result = train(settings)
    storage = storage_of(load_run(settings))
    assert (result.steps, result.steps_charged, len(result.scores)) == (4, 4, 2)
    assert result.score == result.scores[-1]
    assert result.statement.epsilon == plan(load_run(settings)).epsilon
    assert result.statement.tokens_drawn == {"train_step": 4}
    written = {path.name for path in storage.folder.iterdir()}
    assert written >= {
        "config.json",
        "model",
        "privacy_statement.json",
        "privacy_statement.txt",
        LOG_NAME,
        "result.json",
    }
    AutoModelForCausalLM.from_pretrained(result.model_folder)

    log = (storage.folder / LOG_NAME).read_bytes()
    again = train(settings)
    assert (again.steps, again.scores) == (4, result.scores)
    assert (storage.folder / LOG_NAME).read_bytes() == log
    assert Ledger(storage.database_url).drawn("test", "train_step") == 4


def test_a_run_may_be_scored_on_private_rows_or_not_at_all(settings):
    scored = train(settings, ["name=scored", "score.on=private", "score.num_examples=40"])
    assert (scored.zero_shot, scored.statement.tokens_drawn) == (None, {"train_step": 4, "evaluation": 2})
    assert all(score is not None for score in scored.scores)
    unscored = train(settings, ["name=unscored", "data.validation=null"])
    assert (unscored.zero_shot, unscored.score, unscored.scores) == (None, None, [None, None])


def test_a_configuration_is_treated_like_the_file_it_came_from(settings):
    config = load_sweep(settings)
    assert Sweep(config, ["search.num_trials=7"]).config.search.num_trials == 7
    assert plan(config, ["search.num_trials=7"]).num_trials == 7
    result = train(config, ["method.num_steps=2"])
    assert (result.steps, result.statement.caps) == (2, {"train_step": 2})


def test_no_module_hides_a_function_of_the_same_name():
    imports = "import orchestrator.planning.plan, orchestrator.sweep.single_run; from orchestrator import plan, train"
    code = f"{imports}; print(plan.__module__, train.__module__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["orchestrator.api.runs", "orchestrator.api.runs"]
