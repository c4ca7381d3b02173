"""Kill -9 in the middle of `dpzo train`, start again: it continues, and every token is accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from orchestrator.config.loading import load_run
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.storage.paths import storage_of, with_absolute_paths
from tests.support.project import write_config, write_project
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun
from trainers.workspace import open_workspace

NUM_STEPS = 200


@pytest.fixture
def config_file(tmp_path) -> Path:
    config = write_project(tmp_path)
    config["method"]["num_steps"] = NUM_STEPS
    config["score"] = {"times": 1}
    del config["search"]
    return write_config(tmp_path, config)


def start(config_file: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "orchestrator", "train", str(config_file), "--format", "json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines_of(log: Path) -> list[dict]:
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


def kill_in_a_step(process: subprocess.Popen, log: Path, after: int) -> None:
    """Kill the process as soon as a step beyond `after` is reserved and not yet released."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        entries = lines_of(log)
        if len(entries) > after and entries[-1].get("type") == "RESERVE":
            process.kill()
            process.communicate()
            return
        time.sleep(0.001)
    raise AssertionError("the run never got that far")


def test_a_killed_run_goes_on_from_its_release_log(config_file):
    config = with_absolute_paths(load_run(config_file))
    storage = storage_of(config)
    log = storage.folder / LOG_NAME
    kill_in_a_step(start(config_file), log, after=100)
    entries = lines_of(log)[1:]
    interrupted = sum(entry["type"] == "RESERVE" for entry in entries) - sum(
        entry["type"] == "RELEASE" for entry in entries
    )
    killed_log = log.read_bytes()
    out, err = start(config_file).communicate(timeout=300)
    result = json.loads(out or err)

    # what was released before the kill was kept, and the interrupted step stays charged
    assert log.read_bytes().startswith(killed_log[: killed_log.rfind(b"\n") + 1])
    assert result["steps"] + interrupted == result["steps_charged"]
    assert result["steps_charged"] <= NUM_STEPS
    drawn = Ledger(storage.database_url).drawn(config.name, TRAIN_STEP)
    assert drawn == NUM_STEPS  # a token may also be lost between the ledger and the log
    Ledger(storage.database_url).verify(config.name)
    assert result["statement"]["epsilon_total"] == make_plan(config).epsilon

    # the weights are those of an uninterrupted replay, bit for bit
    evaluator = open_workspace(config, private=False).evaluator
    none = LocalTokens(0)
    sigma = make_plan(config).noise_multiplier
    workspace, plan = Workspace([], [], evaluator), mechanism_plan(config, sigma)
    replay = ZerothOrderRun(RunContext(workspace, config, plan, Tokens(none, none), storage.folder))
    with replay.log:
        replay.replay()
    evaluator.export(config_file.parent / "replayed")
    trained, replayed = (
        load_file(folder / "model.safetensors") for folder in (storage.model_folder, config_file.parent / "replayed")
    )
    assert trained.keys() == replayed.keys()
    assert all(trained[name].equal(replayed[name]) for name in trained)
