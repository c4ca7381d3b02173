"""Ray Train's workers, killed or stopped in a step: the run continues, and every token is accounted for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
from safetensors.torch import load_file

from orchestrator.config.loading import load_run
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.sweep.rebuild import rebuild_from_log
from tests.support.cluster import RayCluster
from tests.support.processes import holder_of_file, train_workers, wait_for
from tests.support.project import write_config, write_project
from trainers.mechanism.release_log import LOG_NAME

NUM_STEPS, SPARE = 90, 20
PATIENCE_S = 600  # of a busy machine
STEP_PATIENCE_S = 10.0


@pytest.fixture
def config(tmp_path) -> dict:
    values = write_project(tmp_path, num_examples=60)
    values["method"]["num_steps"] = NUM_STEPS
    values["privacy"] = {"rounding_share": 0, "noise_multiplier": 4.0, "expected_batch_size": 8, "spare_steps": SPARE}
    values["score"] = {"times": 1}
    values["resources"] = {"workers": 2, "check_steps": 20, "step_patience_s": STEP_PATIENCE_S}
    return values


@contextmanager
def started(verb: str, folder: Path, values: dict) -> Iterator[subprocess.Popen[str]]:
    """Start a driver; where the test fails, nothing of it is left to disturb the next one."""
    command = [sys.executable, "-m", "orchestrator", verb, str(write_config(folder, values)), "--format", "json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    environment["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = "30"  # for one that is stopped between two steps
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def entries(log: Path) -> list[dict]:
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line) for line in lines[1:] if line.endswith("}\n")]


def hit_in_a_step(driver: subprocess.Popen, log: Path, after: int, blow: signal.Signals, *, leader: bool) -> int:
    """Kill or stop rank 0, or another rank, when a step beyond `after` is reserved and not yet released."""

    def in_a_step() -> bool:
        assert driver.poll() is None, driver.stderr.read()
        known = entries(log)
        return len(known) > 2 * after and known[-1]["type"] == "RESERVE"

    wait_for(in_a_step, PATIENCE_S, "the run never got that far")
    workers = train_workers(driver.pid)
    first = holder_of_file(log, workers)
    victim = first if leader else (workers - {first}).pop()
    os.kill(victim, blow)
    return victim


def require_accounted(log: Path, drawn: int) -> None:
    """Check that each step was released once, each under a reservation of its own, each with a token."""
    known = entries(log)
    released = Counter(entry["index"] for entry in known if entry["type"] == "RELEASE")
    assert released == Counter(range(NUM_STEPS))
    reserved = [entry["token"] for entry in known if entry["type"] == "RESERVE"]
    assert reserved == list(range(len(reserved)))
    assert NUM_STEPS <= len(reserved) <= drawn <= NUM_STEPS + SPARE  # equal where each blow came after the release


def test_a_run_whose_workers_are_killed_or_stopped_goes_on(tmp_path, config):
    values = {key: value for key, value in config.items() if key != "search"}
    settings = with_absolute_paths(load_run(values))
    storage = storage_of(settings)
    log = storage.folder / LOG_NAME
    with started("train", tmp_path, values) as driver:
        hit_in_a_step(driver, log, 20, SIGKILL, leader=False)
        stopped = hit_in_a_step(driver, log, 60, SIGSTOP, leader=True)
        wait_for(lambda: len(entries(log)) > 2 * 61 + 2, PATIENCE_S, "nobody replaced rank 0")
        with pytest.raises(ProcessLookupError):  # it is dead, and cannot come back
            os.kill(stopped, SIGCONT)
        out, err = driver.communicate(timeout=PATIENCE_S)
    result = json.loads(out or err)
    assert f"{NUM_STEPS} of {NUM_STEPS} steps" in err  # the last line of progress
    ledger = Ledger(storage.database_url)
    require_accounted(log, ledger.drawn(settings.name, TRAIN_STEP))
    assert (result["steps"], result["steps_charged"]) == (NUM_STEPS, len(entries(log)) - NUM_STEPS)
    assert result["statement"]["epsilon_total"] == make_plan(settings).epsilon

    # the weights that rank 0 exported are those of the log's replay in one process
    plan = make_plan(settings)
    rebuild_from_log(plan.trial({}), storage.folder, NUM_STEPS, tmp_path / "replayed", "the run")
    trained, replayed = (
        load_file(folder / "model.safetensors") for folder in (storage.model_folder, tmp_path / "replayed")
    )
    assert trained.keys() == replayed.keys()
    assert all(trained[name].equal(replayed[name]) for name in trained)


def test_another_cluster_of_the_machine_is_left_out_of_it(tmp_path, config):
    values = {key: value for key, value in config.items() if key != "search"}
    values["method"]["num_steps"] = 8
    with RayCluster({"num_cpus": 0}), started("train", tmp_path, values) as driver:
        out, err = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, err
    assert json.loads(out)["steps"] == 8


def test_a_lane_whose_workers_are_killed_or_stopped_goes_on_with_its_trials(tmp_path, config):
    values = config | {"search": config["search"] | {"num_trials": 2, "concurrent_trials": 1}}
    values["resources"] |= {"parallel": "directions"}
    logs = [tmp_path / "runs" / "test" / "trials" / f"00{number}" / LOG_NAME for number in range(2)]
    with started("sweep", tmp_path, values) as driver:
        hit_in_a_step(driver, logs[0], 40, SIGSTOP, leader=False)
        hit_in_a_step(driver, logs[1], 40, SIGKILL, leader=True)
        out, err = driver.communicate(timeout=PATIENCE_S)
    result = json.loads(out or err)
    assert [trial["state"] for trial in result["trials"]] == ["complete"] * 2
    ledger = Ledger(f"sqlite:///{tmp_path / 'runs' / 'dpzo.db'}")
    for number, log in enumerate(logs):
        require_accounted(log, ledger.drawn("test", TRAIN_STEP, f"trial-00{number}"))
