"""A whole sweep with Ray and Optuna: killed in the middle, started again, and accounted for to the last token."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from transformers import AutoModelForCausalLM

from orchestrator import Sweep
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.storage.paths import Storage, storage_of
from tests.support.project import write_config, write_project
from trainers.mechanism.release_log import LOG_NAME, ReleaseLog

NUM_TRIALS, NUM_STEPS = 4, 150


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    """A sweep whose driver was killed while its second or third trial ran, and that was started again."""
    folder = tmp_path_factory.mktemp("sweep")
    config = write_project(folder)
    config["method"]["num_steps"] = NUM_STEPS
    config["search"] |= {"num_trials": NUM_TRIALS, "concurrent_trials": 2, "early_stopping": "asha"}
    path = write_config(folder, config)
    storage = storage_of(Sweep(path).config)
    first = start(path)
    wait_for_steps(first, storage, NUM_STEPS + NUM_STEPS // 2)
    first.kill()
    first.communicate()
    out, err = start(path).communicate(timeout=400)
    assert out.startswith("{"), err
    return path, json.loads(out)


def start(config_file: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "orchestrator", "sweep", str(config_file), "--format", "json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_steps(process: subprocess.Popen, storage: Storage, steps: int) -> None:
    deadline = time.monotonic() + 240
    while released(storage) < steps:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the sweep never got that far"
        time.sleep(0.05)


def released(storage: Storage) -> int:
    logs = storage.folder.glob(f"trials/*/{LOG_NAME}")
    return sum(log.read_text().count('"type":"RELEASE"') for log in logs)


def test_all_trials_end_and_the_best_is_exported(finished):
    _, result = finished
    assert [trial["number"] for trial in result["trials"]] == list(range(NUM_TRIALS))
    assert all(trial["state"] in ("complete", "stopped early") for trial in result["trials"])
    complete = [trial for trial in result["trials"] if trial["state"] == "complete"]
    assert result["best"]["scores"][-1] == max(trial["scores"][-1] for trial in complete)
    AutoModelForCausalLM.from_pretrained(result["model_folder"])


def test_epsilon_is_that_of_the_caps_and_every_release_has_its_token(finished):
    path, result = finished
    sweep = Sweep(path)
    storage = storage_of(sweep.config)
    ledger = Ledger(storage.database_url)
    ledger.verify(sweep.config.name)
    drawn = ledger.drawn(sweep.config.name, TRAIN_STEP)
    assert result["statement"]["epsilon_total"] == sweep.plan().epsilon <= 8
    assert result["statement"]["caps"] == {TRAIN_STEP: NUM_TRIALS * NUM_STEPS}
    assert released(storage) <= drawn <= NUM_TRIALS * NUM_STEPS
    for trial in result["trials"]:
        log = storage.trial_folder(trial["number"]) / LOG_NAME
        header = json.loads(log.read_text().splitlines()[0])["run"]
        with ReleaseLog(log, header) as entries:
            holder = f"trial-{trial['number']:03d}"
            assert trial["steps"] <= entries.num_released("step") <= trial["steps_charged"]
            drawn_by_trial = ledger.drawn(sweep.config.name, TRAIN_STEP, holder)
            assert entries.num_reserved["step"] <= trial["steps_charged"] == drawn_by_trial


def test_the_study_tells_how_each_trial_ended(finished):
    path, result = finished
    config = Sweep(path).config
    study = optuna.load_study(study_name=config.name, storage=storage_of(config).database_url)
    states = {"COMPLETE": "complete", "PRUNED": "stopped early"}
    assert {trial.number: states[trial.state.name] for trial in study.trials} == {
        trial["number"]: trial["state"] for trial in result["trials"]
    }


def test_a_finished_sweep_is_not_run_again(finished):
    path, _ = finished
    _, err = start(path).communicate(timeout=120)
    assert "is finished, its results are in" in err
