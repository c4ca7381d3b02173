"""A run and a sweep that an earlier version left killed, each in a step, are resumed by this one.

tests/data/killed_before_the_move holds their files as that version wrote them. They name the folder in which they were
made; a copy is laid for this machine, in which each log names the files that are here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from trainers.mechanism.release_log import LOG_NAME

STORED = Path(__file__).parents[1] / "data/killed_before_the_move"
REPOSITORY = Path(__file__).parents[2]
MADE_IN = "/srv/dpzo"
RUN_EPSILON, SWEEP_EPSILON = 2.9961133769321107, 3.9955078250517624  # reserved before the kill
NUM_STEPS, NUM_TRIALS = 40, 3
LOGS = [f"killed-run/{LOG_NAME}", f"killed-sweep/trials/000/{LOG_NAME}", f"killed-sweep/trials/001/{LOG_NAME}"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """The storage folder that the kills left, laid for this machine."""
    folder = tmp_path_factory.mktemp("stored") / "runs"
    shutil.copytree(STORED, folder, ignore=shutil.ignore_patterns("README.md", "dpzo.sql"))
    for file in folder.glob("*/config.json"):
        config = json.loads(file.read_text().replace(f"{MADE_IN}/runs", str(folder)).replace(MADE_IN, str(REPOSITORY)))
        config["performance"]["num_threads"] = 1  # speed may change when a run is resumed
        file.write_text(json.dumps(config))
    for log in LOGS:
        (folder / log).write_text(chained((folder / log).read_text().replace(MADE_IN, str(REPOSITORY))))
    with sqlite3.connect(folder / "dpzo.db") as database:
        database.executescript((STORED / "dpzo.sql").read_text())
    database.close()
    return folder


def chained(log: str) -> str:
    """Return a log with the hash chain that its lines must have: BLAKE2b over the line before and this one."""
    chain, lines = b"", []
    for line in log.splitlines():
        entry = json.loads(line)
        del entry["chain"]
        chain = hashlib.blake2b(chain + canonical(entry).encode(), digest_size=16).digest()
        lines.append(canonical({**entry, "chain": chain.hex()}) + "\n")
    return "".join(lines)


def canonical(entry: dict[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"))


def count(log: Path, kind: str) -> int:
    return log.read_text().count(f'"type":"{kind}"')


def dpzo(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--format", "json"])


def test_the_chain_that_this_test_writes_is_the_one_that_was_stored():
    for log in LOGS:
        stored = (STORED / log).read_text()
        assert chained(stored) == stored


def test_the_status_of_both_is_killed_in_a_step(storage):
    run, sweep = json.loads(dpzo("status", str(storage)).stdout)
    assert (run["name"], run["state"], run["spending"]["reserved"]) == ("killed-run", "interrupted", RUN_EPSILON)
    assert (sweep["name"], sweep["state"], sweep["spending"]["reserved"]) == (
        "killed-sweep",
        "interrupted",
        SWEEP_EPSILON,
    )
    assert [trial["state"] for trial in sweep["trials"]] == ["complete", "interrupted"]
    for log in (LOGS[0], LOGS[2]):
        assert count(storage / log, "RESERVE") == count(storage / log, "RELEASE") + 1


def test_the_run_is_resumed(storage):
    folder = storage / "killed-run"
    stored = (folder / LOG_NAME).read_text()
    done = dpzo("resume", str(folder))
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (folder / LOG_NAME).read_text().startswith(stored)
    assert (result["steps"], result["steps_charged"]) == (NUM_STEPS - 1, NUM_STEPS)  # one was interrupted
    assert count(folder / LOG_NAME, "RELEASE") == result["steps"]
    assert count(folder / LOG_NAME, "RESERVE") == result["steps_charged"]
    assert result["statement"]["epsilon_here"] == pytest.approx(RUN_EPSILON, rel=1e-8)
    assert result["statement"]["epsilon_total"] == RUN_EPSILON + SWEEP_EPSILON  # both are of one data set
    assert result["statement"]["tokens_drawn"] == {"train_step": NUM_STEPS}
    assert len(result["scores"]) == 2
    assert (folder / "model/model.safetensors").is_file()


def test_the_sweep_is_resumed(storage):
    folder = storage / "killed-sweep"
    stored = {log: (storage / log).read_text() for log in LOGS[1:]}
    command = [sys.executable, "-m", "orchestrator", "resume", str(folder), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for log, text in stored.items():
        assert (storage / log).read_text().startswith(text)
    logs = [folder / f"trials/{trial['number']:03d}/{LOG_NAME}" for trial in result["trials"]]
    assert len(logs) == NUM_TRIALS
    assert all(trial["state"] == "complete" for trial in result["trials"])
    assert [trial["steps"] for trial in result["trials"]] == [count(log, "RELEASE") for log in logs]
    assert [trial["steps_charged"] for trial in result["trials"]] == [count(log, "RESERVE") for log in logs]
    assert sum(count(log, "RESERVE") - count(log, "RELEASE") for log in logs) == 1  # one step was interrupted
    assert result["trials"][0]["steps"] == NUM_STEPS
    assert result["statement"]["epsilon_here"] == pytest.approx(SWEEP_EPSILON, rel=1e-8)
    assert result["statement"]["epsilon_total"] == RUN_EPSILON + SWEEP_EPSILON
    assert result["statement"]["tokens_drawn"] == {"train_step": NUM_STEPS * NUM_TRIALS}


def test_the_ledger_verifies(storage):
    found = dpzo("budget", "verify", "--ledger", str(storage))
    assert found.exit_code == 0, found.output
    charged = {row["name"]: (row["charged"], row["problem"]) for row in json.loads(found.stdout)}
    assert charged == {"killed-run": (RUN_EPSILON, None), "killed-sweep": (SWEEP_EPSILON, None)}
