"""Kills at every point of a step: nothing is released without a token, and nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import EVALUATION, TRAIN_STEP
from orchestrator.storage.paths import storage_of
from tests.support.kill_points import NUM_SCORES, NUM_STEPS, POINTS, settings
from tests.support.quadratic import Quadratic
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.release_log import LOG_NAME
from trainers.mechanism.tokens import LocalTokens
from trainers.run.context import RunContext, Tokens, Workspace
from trainers.run.zeroth_order import ZerothOrderRun

NUM_KILLS = 8  # at least; and one at each point


@pytest.fixture(scope="module", params=["file", "database"])
def killed(request, tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("kills")
    command = [sys.executable, "-m", "tests.support.kill_points", str(folder), str(NUM_KILLS), "0"]
    if request.param == "database":
        command.append(request.getfixturevalue("postgresql_server").new_database())
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ledger = command[6] if request.param == "database" else None
    return folder, json.loads(done.stdout.splitlines()[-1]) | {"ledger": ledger}


def logs(killed: tuple[Path, dict]) -> list[tuple[str, list[dict]]]:
    """Return (name, entries of the release log) of every run."""
    folder, happened = killed
    names = [f"run-{number:03d}" for number in range(happened["runs"])]
    return [
        (name, [json.loads(line) for line in (folder / name / LOG_NAME).read_text().splitlines()]) for name in names
    ]


def test_every_point_was_hit(killed):
    kills = killed[1]["kills"]
    assert sum(kills.values()) >= NUM_KILLS
    assert set(kills) == set(POINTS)


def test_every_run_finishes_with_the_planned_releases_each_once(killed):
    for _, entries in logs(killed):
        released = Counter((entry["kind"], entry["index"]) for entry in entries if entry.get("type") == "RELEASE")
        planned = [("step", step) for step in range(NUM_STEPS)] + [("score", score) for score in range(NUM_SCORES)]
        assert released == Counter(planned)


def test_no_release_without_a_reservation_of_its_own(killed):
    for _, entries in logs(killed):
        open_reservations: Counter[tuple[str, int]] = Counter()
        for entry in entries[1:]:
            place = (entry["kind"], entry["index"])
            if entry["type"] == "RESERVE":
                open_reservations[place] += 1
            else:
                assert open_reservations[place] >= 1
        kinds = [entry["kind"] for entry in entries[1:] if entry["type"] == "RESERVE"]
        tokens = [(entry["kind"], entry["token"]) for entry in entries[1:] if entry["type"] == "RESERVE"]
        assert len(set(tokens)) == len(tokens) == len(kinds)


def test_no_reservation_without_a_token_and_no_token_beyond_the_cap(killed):
    folder, happened = killed
    config = settings(folder, "any", happened["ledger"])
    ledger = Ledger(storage_of(config).database_url)
    caps = make_plan(config).caps.caps().tokens()
    for name, entries in logs(killed):
        ledger.verify(name)
        reserved = Counter(entry["kind"] for entry in entries if entry.get("type") == "RESERVE")
        for kind, log_kind in ((TRAIN_STEP, "step"), (EVALUATION, "score")):
            assert reserved[log_kind] <= ledger.drawn(name, kind) <= caps[kind].count


def test_the_log_replays_to_the_weights_that_the_run_ended_with(killed):
    folder, _ = killed
    for name, _ in logs(killed):
        config, evaluator, none = settings(folder, name), Quadratic(), LocalTokens(0)
        plan = mechanism_plan(config, config.privacy.noise_multiplier)
        workspace = Workspace([], [], evaluator)
        run = ZerothOrderRun(RunContext(workspace, config, plan, Tokens(none, none), folder / name))
        with run.log:
            run.replay()
        assert evaluator.state_digest() == (folder / name / "digest").read_text()
