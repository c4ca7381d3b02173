import json
import math

import pytest

from orchestrator.config.loading import load_run, load_sweep
from orchestrator.storage import results as records
from orchestrator.storage.existing import find_existing
from orchestrator.storage.paths import Storage
from orchestrator.storage.results import (
    StoredRun,
    StoredSweep,
    read_result,
    require_same_settings,
    result_json,
    write_config,
    write_result,
)
from orchestrator.storage.trials import TrialRow
from tests.support.statements import stated
from trainers.config.mechanism import rounding_share

STATEMENT = stated(None, num_steps=4)


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path, "run")


def run_result(storage, scores=(0.5, 0.75)) -> StoredRun:
    return StoredRun(
        name="run",
        folder=storage.folder,
        model_folder=storage.model_folder,
        steps=4,
        steps_charged=5,
        zero_shot=0.5,
        score=scores[-1],
        scores=list(scores),
        seconds=1.5,
        statement=STATEMENT,
    )


def sweep_result(storage, *trials) -> StoredSweep:
    best = trials[0] if trials else None
    return StoredSweep("run", storage.folder, None, list(trials), best, None, 1.5, STATEMENT)


def test_a_run_is_written_with_its_statement(storage):
    write_result(storage, run_result(storage))
    found = read_result(storage)
    assert (found["steps"], found["steps_charged"], found["scores"]) == (4, 5, [0.5, 0.75])
    assert found["model_folder"] == str(storage.model_folder)
    assert found["statement"] == json.loads(storage.statement_file.read_text())
    assert storage.statement_file.with_suffix(".txt").read_text() == STATEMENT.text()


def test_a_sweep_is_written_with_its_trials(storage):
    trial = TrialRow(0, {"method.smoothing": 1e-3}, "complete", 4, 4, [0.5], 0.25)
    found = json.loads(result_json(sweep_result(storage, trial)))
    assert found["best"] == found["trials"][0]
    assert found["best"]["values"] == {"method.smoothing": 1e-3}
    assert (found["best"]["epsilon"], found["model_folder"]) == (0.25, None)
    assert json.loads(result_json(sweep_result(storage)))["best"] is None


def test_what_is_not_finite_is_null(storage):
    """A sweep without privacy has trials of infinite ε, and a run that diverged has a score that is no number."""
    trial = TrialRow(0, {}, "complete", 4, 4, [0.5], math.inf)
    assert json.loads(result_json(sweep_result(storage, trial)))["trials"][0]["epsilon"] is None
    found = json.loads(result_json(run_result(storage, scores=(0.5, math.nan))))
    assert (found["score"], found["scores"]) == (None, [0.5, None])


def test_a_run_without_results_has_none(storage):
    assert read_result(storage) is None


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("steps",), None, "steps is missing or wrong"),
        (("steps",), -1, "steps is missing or wrong"),
        (("trials",), 3, "trials is missing or wrong"),
        (("trials",), [{"number": "secret"}], "trials.0.number is missing or wrong"),
        (("trials",), [], "best is missing or wrong"),
    ],
)
def test_results_that_were_changed_are_refused_without_a_value(storage, place, value, said):
    write_result(storage, run_result(storage))
    content = json.loads(storage.result_file.read_text())
    content[place[0]] = value
    storage.result_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{storage.result_file} is not as dpzo wrote it: {said}") as caught:
        read_result(storage)
    assert "secret" not in str(caught.value)


def test_a_configuration_that_was_changed_is_refused_with_its_file(storage, settings):
    write_config(storage, load_run(settings))
    for change in ({"privacy": 3}, {"method": {"name": "none"}}, {"name": "dpzo.db"}):
        storage.config_file.write_text(json.dumps({**json.loads(storage.config_file.read_text()), **change}))
        with pytest.raises(ValueError, match=f"^{storage.config_file}: {next(iter(change))}"):
            find_existing(storage.folder)
        write_config(storage, load_run(settings))


def test_the_results_are_written_last(storage, monkeypatch):
    written = []
    monkeypatch.setattr(records, "write_whole", lambda path, text: written.append(path))
    write_result(storage, run_result(storage))
    assert written[-1] == storage.result_file  # a sweep with a result file is finished


def test_the_resolved_configuration_is_written(storage, settings):
    config = load_run(settings)
    write_config(storage, config)
    assert load_run(storage.config_file) == config


def test_a_folder_keeps_its_settings_but_for_place_and_speed(storage, settings):
    require_same_settings(storage, load_run(settings))  # nothing stands there yet
    write_config(storage, load_run(settings))
    require_same_settings(storage, load_run(settings, ["performance.num_threads=7", "storage_path=elsewhere"]))
    with pytest.raises(ValueError, match=r"method\.seed: 0 there, 1 now; privacy\.epsilon: None there, 9\.0 now"):
        require_same_settings(storage, load_run(settings, ["method.seed=1", "privacy.epsilon=9"]))


def test_a_run_and_a_sweep_do_not_share_a_folder(storage, settings):
    write_config(storage, load_run(settings))
    with pytest.raises(ValueError, match=r"holds other settings \(.*search\.num_trials: None there, 3 now"):
        require_same_settings(storage, load_sweep(settings))


def test_a_run_begun_before_rounding_was_charged_goes_on_without_the_charge(storage, settings):
    write_config(storage, load_run(settings))
    known = json.loads(storage.config_file.read_text())
    del known["privacy"]["rounding_share"]
    storage.config_file.write_text(json.dumps(known))
    resumed = find_existing(storage.folder).config
    assert rounding_share(resumed) == 0.0
    require_same_settings(storage, resumed.model_copy(update={"storage_path": settings["storage_path"]}))
    with pytest.raises(ValueError, match=r"privacy\.rounding_share: 0\.0 there, 0\.01 now"):
        require_same_settings(storage, load_run(settings, ["privacy.rounding_share=0.01"]))


@pytest.mark.parametrize("setting", ["performance.evaluator=vllm", "performance.vllm.batch_invariant=true"])
def test_a_run_goes_on_with_the_evaluator_that_its_statement_will_name(storage, settings, setting):
    write_config(storage, load_run(settings))
    with pytest.raises(ValueError, match=f"{setting.partition('=')[0]}: .* there, .* now"):
        require_same_settings(storage, load_run(settings, [setting]))
    known = json.loads(storage.config_file.read_text())
    del known["performance"]["evaluator"], known["performance"]["vllm"]  # of a version that had one evaluator
    storage.config_file.write_text(json.dumps(known))
    require_same_settings(storage, load_run(settings, [setting]))
