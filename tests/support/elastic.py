"""A run that begins with one worker, continues with two when a node is added, and with one when a node is lost.

On a Ray cluster of real processes. The node that is lost is the first one, with all that ran there: Ray Train's
controller stays on the head, which has no CPUs for workers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from safetensors.torch import load_file

from orchestrator.config.loading import load_run
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.sweep.rebuild import rebuild_from_log
from tests.support.cluster import RayCluster
from tests.support.processes import wait_for
from tests.support.project import write_config, write_project
from trainers.mechanism.release_log import LOG_NAME

NODE = {"num_cpus": 1}
PHASE_S = 300.0  # until Ray Train has noticed, decided and started anew
STEPS_A_PHASE = 20
SPARE = 10


@dataclass
class Elastic:
    """A run whose cluster grows and shrinks.

    Args:
        folder: empty; for the model, the data and the run.
        num_steps: enough to be busy through all phases.
    """

    folder: Path
    num_steps: int
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = write_project(self.folder, num_examples=60)
        del values["search"]
        values["method"] |= {"num_steps": self.num_steps, "num_directions": 8}
        values["privacy"] = {
            "rounding_share": 0,
            "noise_multiplier": 4.0,
            "expected_batch_size": 40,
            "spare_steps": SPARE,
        }
        values["score"] = {"times": 1}
        values["performance"] = {"num_threads": 1, "snapshot_steps": 50}
        values["resources"] = {"workers": 1, "max_workers": 2, "check_steps": 20}
        self.config_file = write_config(self.folder, values)
        self.config = with_absolute_paths(load_run(self.config_file))
        self.storage = storage_of(self.config)
        self.log = self.storage.folder / LOG_NAME

    def run(self) -> dict[str, Any]:
        """Take the run through all phases, and return its result."""
        with RayCluster({"num_cpus": 0}, NODE) as cluster:
            driver = self._start(cluster)
            try:
                self._until("one worker steps", driver, cluster, 1)
                cluster.add_node(**NODE)
                self._until("two, after a node was added", driver, cluster, 2)
                cluster.lose_node(cluster.nodes[0])
                self._until("one, after a node was lost", driver, cluster, 1)
                assert driver.wait(self.num_steps) == 0, self._last_words()
            finally:
                driver.kill()
                driver.wait()
        return json.loads((self.folder / "out").read_text())

    def entries(self) -> list[dict[str, Any]]:
        """Return the whole lines of the log but the first."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return [json.loads(line) for line in lines[1:] if line.endswith("}\n")]

    def _start(self, cluster: RayCluster) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orchestrator", "train", str(self.config_file), "--format", "json"]
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            return subprocess.Popen(command, stdout=out, stderr=err, env=cluster.env())

    def _until(self, phase: str, driver: subprocess.Popen[bytes], cluster: RayCluster, size: int) -> None:
        """Wait until this many workers, started since, have taken some steps."""
        began, before = time.monotonic(), self._ranks(cluster)
        start: list[int] = []

        def they_step() -> bool:
            assert driver.poll() is None, self._last_words()
            now = self._ranks(cluster)
            if len(now) != size or now & before:
                start.clear()
                return False
            released = self.log.read_bytes().count(b'"RELEASE"') if self.log.exists() else 0
            start[:] = start or [released]
            return released >= start[0] + STEPS_A_PHASE

        wait_for(they_step, PHASE_S, f"never: {phase}", pause_s=0.2)
        self.seconds[phase] = round(time.monotonic() - began, 1)

    def _ranks(self, cluster: RayCluster) -> set[int]:
        return {one.pid for one in cluster.workers() if "RayTrainWorker" in _title(one)}

    def _last_words(self) -> str:
        return (self.folder / "err").read_text()[-3000:]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def require_elastic(elastic: Elastic, result: dict[str, Any]) -> None:
    """Check that each step was released once, under a token of its own, and that the weights are those of the log."""
    known, config, plan = elastic.entries(), elastic.config, make_plan(elastic.config)
    released = Counter(entry["index"] for entry in known if entry["type"] == "RELEASE")
    assert released == Counter(range(elastic.num_steps))
    tokens = [entry["token"] for entry in known if entry["type"] == "RESERVE"]
    assert tokens == list(range(len(tokens)))
    ledger = Ledger(elastic.storage.database_url)
    ledger.verify(config.name)
    assert len(tokens) <= ledger.drawn(config.name, TRAIN_STEP) <= elastic.num_steps + SPARE
    assert (result["steps"], result["steps_charged"]) == (elastic.num_steps, len(tokens))
    assert result["statement"]["epsilon_total"] == plan.epsilon
    rebuild_from_log(plan.trial({}), elastic.storage.folder, elastic.num_steps, elastic.folder / "replayed", "the run")
    trained, replayed = (
        load_file(folder / "model.safetensors")
        for folder in (elastic.storage.model_folder, elastic.folder / "replayed")
    )
    assert trained.keys() == replayed.keys()
    assert all(trained[name].equal(replayed[name]) for name in trained)
