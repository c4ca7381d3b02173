"""`dpzo train` with the first-order baselines, whole and killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.config.loading import load_run
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.storage.paths import storage_of, with_absolute_paths
from tests.support.project import write_config
from trainers.mechanism.release_log import LOG_NAME

METHODS = {"dp-sgd": 0.5, "dp-adamw": 0.003, "adamw": 0.003}


@pytest.fixture
def first_order(settings):
    def choose(name: str, num_steps: int, **changes):
        del settings["search"]
        settings["method"] = {"name": name, "num_steps": num_steps, "learning_rate": METHODS[name], "clip_norm": 1.0}
        settings["privacy"] = {"expected_batch_size": 16} | ({} if name == "adamw" else {"noise_multiplier": 1.0})
        for section, values in changes.items():
            settings[section] = {**settings.get(section, {}), **values}
        return settings

    return choose


@pytest.mark.parametrize("name", METHODS)
def test_a_baseline_learns_and_says_what_it_is(first_order, dpzo, tmp_path, name):
    little_noise = {} if name == "adamw" else {"noise_multiplier": 0.3}  # at 1 one run in some dozens does not learn
    first_order(name, 20, privacy=little_noise)
    result = dpzo("train")
    assert result.exit_code == 0, result.output + result.stderr
    folder = tmp_path / "runs" / "test"
    found = json.loads((folder / "result.json").read_text())
    assert found["steps"] == found["steps_charged"] == 20
    assert found["score"] >= found["zero_shot"]
    assert found["score"] > 0.9
    assert "K = " not in result.output
    statement = (folder / "privacy_statement.txt").read_text()
    words = " ".join(statement.split())
    if name == "adamw":
        assert "NOT private" in words
        assert "none: loss gradients of private examples" in words
    else:
        assert "Each step computes the loss gradients for each example of the batch, clips this vector" in words
        assert "by a floating-point sampler" in words
        assert "Rounding. The gradients of this baseline, their sum and its noise are floating-point numbers" in words
        assert "exact integer sampler" not in words
        assert found["statement"]["versions"]["opacus"]


def test_the_plan_is_priced_like_any_other(first_order, dpzo):
    first_order("dp-adamw", 20)
    text = " ".join(dpzo("plan").output.split())
    zeroth = " ".join(dpzo("plan", "method.name=dp-zo", "privacy.rounding_share=0").output.split())
    assert "method DP-AdamW steps 20" in text
    assert text.split("total ε")[1].split("method")[0] == zeroth.split("total ε")[1].split("method")[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.num_directions=4", "DP-AdamW has no num_directions: remove method.num_directions"),
        ("method.smoothing=0.01", "DP-AdamW has no smoothing: remove method.smoothing"),
        ("method.direction=rademacher", "DP-AdamW has no direction: remove method.direction"),
        ("method.momentum=0.9", "DP-AdamW has no momentum: remove method.momentum"),
    ],
)
def test_what_means_nothing_there_is_refused(first_order, refused, override, message):
    first_order("dp-adamw", 4)
    assert message in refused("train", override)


def steps_of(log: Path, kind: str) -> int:
    if not log.exists():
        return 0
    return sum(f'"type":"{kind}"' in line for line in log.read_text().splitlines())


def test_killed_at_random_it_goes_on_and_every_token_is_accounted_for(first_order, tmp_path):
    num_steps, spare = 60, 100
    settings = first_order(
        "dp-sgd", num_steps, privacy={"spare_steps": spare}, performance={"snapshot_steps": 7}, score={"times": 1}
    )
    path = write_config(tmp_path, settings)
    config = with_absolute_paths(load_run(path))
    storage, command = (
        storage_of(config),
        [sys.executable, "-m", "orchestrator", "train", str(path), "--format", "json"],
    )
    log = storage.folder / LOG_NAME
    source = random.Random()
    for reached in (5, 40):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while steps_of(log, "RESERVE") < reached and process.poll() is None:
            time.sleep(0.001)
        time.sleep(source.uniform(0, 0.1))
        process.kill()
        process.communicate()
    before = [line for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    result = json.loads(finished.stdout or finished.stderr)

    entries = [json.loads(line) for line in log.read_text().splitlines()][1:]
    releases = [entry["digest"] for entry in entries if entry["type"] == "RELEASE"]
    assert log.read_bytes().startswith(b"".join(before))
    assert result["steps"] == num_steps
    assert len(releases) == len(set(releases)) >= num_steps  # nothing was released twice
    assert result["steps_charged"] == steps_of(log, "RESERVE")
    ledger = Ledger(storage.database_url)
    ledger.verify(config.name)
    assert result["steps_charged"] <= ledger.drawn(config.name, TRAIN_STEP) <= num_steps + spare
    assert len(list(storage.folder.glob("snapshot-*.safetensors"))) == 1
