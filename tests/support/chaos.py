"""A sweep on a Ray cluster of real processes that are killed again and again, and what must hold when it is done.

Kills are SIGKILL by process id, each after some more released steps, so that they fall all over the sweep: on a
busy worker process (a lane, a rank, the loading of a model), on rank 0 (which writes a release log), on the driver
(which is then started again, by the same command or by `dpzo resume` in turns), and on a whole node (which is replaced
by a new one).
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from orchestrator import Sweep
from orchestrator.budget.release_logs import holder_of
from orchestrator.cluster.head_watch import EXIT_CODE
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.storage.existing import find_existing
from orchestrator.storage.paths import Storage, storage_of
from orchestrator.sweep.rebuild import rebuild_from_log
from tests.support.cluster import RayCluster
from tests.support.processes import holder_of_file, kill, wait_for
from tests.support.project import write_config, write_project
from trainers.mechanism.log_reading import recorded_tokens
from trainers.mechanism.release_log import LOG_NAME
from trainers.workers.patience import RAY_PATIENCE

NUM_TRIALS = 4
DEADLINE_S = 60.0  # for the sweep itself, and as much again for each kill
KINDS = ("worker", "rank 0", "node", "driver")


@dataclass
class Chaos:
    """A sweep to be killed.

    Args:
        folder: empty; for the model, the data and the runs.
        num_kills: in all.
        num_steps: of each trial.
        seed: of the order of kills, and of who is hit.
        workers: of each trial (`resources.workers`).
        kinds: what is killed, in turns.
    """

    folder: Path
    num_kills: int
    num_steps: int
    seed: int = 0
    workers: int = 1
    kinds: tuple[str, ...] = KINDS
    killed: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    prefixes: list[tuple[Path, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = write_project(self.folder)
        config["method"]["num_steps"] = self.num_steps
        config["privacy"] = {
            "rounding_share": 0,
            "noise_multiplier": 4.0,
            "expected_batch_size": 16,
            "spare_steps": 20 * self.num_kills,
        }
        config["score"] = {"times": 1}
        config["performance"] = {"num_threads": 1, "snapshot_steps": 7}
        config["resources"] = {"workers": self.workers, "check_steps": 10}
        config["search"] |= {"num_trials": NUM_TRIALS, "concurrent_trials": 2, "sampler": "random"}
        self.config_file = write_config(self.folder, config)
        self.sweep = Sweep(self.config_file)
        self._random = random.Random(self.seed)

    @property
    def storage(self) -> Storage:
        """Where it runs."""
        return storage_of(self.sweep.config)

    def run(self) -> dict[str, Any]:
        """Run the sweep through all kills to its end, and return its result."""
        node = {"num_cpus": self.workers}
        order = [self.kinds[count % len(self.kinds)] for count in range(self.num_kills)]
        self._random.shuffle(order)
        deadline = time.monotonic() + DEADLINE_S * (NUM_TRIALS + self.num_kills)
        with RayCluster({"num_cpus": 0}, *[node] * 3) as cluster:
            driver = self._start(cluster)
            try:
                while True:
                    assert time.monotonic() < deadline, f"not done after {self.killed}; {self._last_words(driver)}"
                    if driver.poll() is not None:
                        if driver.returncode == 0:
                            return json.loads((self.folder / "out").read_text())
                        assert self.starts < 3 * self.num_kills + 3, self._last_words(driver)
                        driver = self._start(cluster)
                    elif self.killed.total() < self.num_kills and self._is_due():
                        kind = order[self.killed.total()]
                        self._note_logs()
                        if kind == "driver":
                            driver.kill()
                            driver.wait()
                            driver = self._start(cluster)
                        elif kind == "node":
                            cluster.lose_node(self._random.choice(cluster.nodes))
                            cluster.add_node(**node)
                        elif not self._kill_a_worker(cluster, leader=kind == "rank 0"):
                            continue
                        self.killed[kind] += 1
                    time.sleep(0.05)
            finally:
                driver.kill()
                driver.wait()

    def run_through_a_lost_head(self) -> dict[str, Any]:
        """Run the sweep on a cluster whose head is killed, then to its end on another one; return its result."""
        cpus = {"num_cpus": 2 * self.workers}
        with RayCluster({"num_cpus": 0}, cpus) as cluster:
            driver = self._start(cluster, **{RAY_PATIENCE: "12"})
            wait_for(lambda: self.released() > self.num_steps or driver.poll() is not None, 300, "it never began", 0.1)
            self._note_logs()
            cluster.lose_head()
            assert driver.wait(DEADLINE_S) == EXIT_CODE, self._last_words(driver)
            self.killed["head"] += 1
            with RayCluster(cpus) as another:
                driver = self._start(another)
                assert driver.wait(DEADLINE_S * NUM_TRIALS) == 0, self._last_words(driver)
        return json.loads((self.folder / "out").read_text())

    def released(self) -> int:
        """Return the steps that are in the logs."""
        return sum(log.read_bytes().count(b'"type":"RELEASE"') for log in self._logs())

    def _is_due(self) -> bool:
        every = NUM_TRIALS * self.num_steps / (self.num_kills + 1)
        return self.released() >= every * (self.killed.total() + 1)

    def _start(self, cluster: RayCluster, **env: str) -> subprocess.Popen[bytes]:
        self.starts += 1
        can_resume = self.storage.config_file.exists() and self.starts % 2 == 0
        command = ["resume", str(self.storage.folder)] if can_resume else ["sweep", str(self.config_file)]
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "ab") as err:
            return subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *command, "--format", "json"],
                stdout=out,
                stderr=err,
                env=cluster.env() | env,
            )

    def _kill_a_worker(self, cluster: RayCluster, *, leader: bool) -> bool:
        """Kill a process that does something, or one that writes a log; return whether there was one."""
        busy = {one.pid for one in cluster.workers() if "IDLE" not in one.name()}
        if leader:
            busy = {pid for log in self._logs() if (pid := holder_of_file(log, busy)) is not None}
        with suppress(ProcessLookupError):  # it was about to go by itself
            if busy:
                kill(self._random.choice(sorted(busy)))
                return True
        return False

    def _note_logs(self) -> None:
        """Remember what is on disk, whole lines: nothing of it may ever change."""
        for log in self._logs():
            content = log.read_bytes()
            self.prefixes.append((log, content[: content.rfind(b"\n") + 1]))

    def _logs(self) -> list[Path]:
        return sorted(self.storage.trials_folder.glob(f"*/{LOG_NAME}"))

    def _last_words(self, driver: subprocess.Popen[bytes]) -> str:
        return f"exit code {driver.poll()}: {(self.folder / 'err').read_text()[-3000:]}"


def require_all_accounted(chaos: Chaos, result: dict[str, Any]) -> None:
    """Check what must hold of a finished sweep, whichever process was killed."""
    storage, plan = chaos.storage, chaos.sweep.plan()
    assert find_existing(storage.folder).state() == "finished"
    assert [trial["number"] for trial in result["trials"]] == list(range(NUM_TRIALS))
    assert {trial["state"] for trial in result["trials"]} == {"complete"}

    # ε is that of the cap, and the ledger knows of every step that any log took
    ledger = Ledger(storage.database_url)
    ledger.verify(storage.name)
    assert result["statement"]["epsilon_total"] == plan.epsilon
    cap = plan.caps.caps().tokens()[TRAIN_STEP].count
    assert NUM_TRIALS * chaos.num_steps <= ledger.drawn(storage.name, TRAIN_STEP) <= cap
    lost = 0
    for number in range(NUM_TRIALS):
        log = storage.trial_folder(number) / LOG_NAME
        drawn, reserved = ledger.drawn(storage.name, TRAIN_STEP, holder_of(number)), recorded_tokens(log)[1]["step"]
        entries = [json.loads(line) for line in log.read_text().splitlines()[1:]]
        released = [entry["index"] for entry in entries if entry["type"] == "RELEASE" and entry["kind"] == "step"]
        tokens = [entry["token"] for entry in entries if entry["type"] == "RESERVE"]
        assert released == list(range(chaos.num_steps))  # each step once, none lost
        assert tokens == list(range(len(tokens)))  # a token of its own each
        assert chaos.num_steps <= reserved <= drawn
        lost += drawn - reserved  # drawn, and killed before the reservation was on disk
    assert lost <= chaos.killed.total() + chaos.starts

    # nothing that was once on disk was changed
    assert chaos.prefixes
    assert all(log.read_bytes().startswith(prefix) for log, prefix in chaos.prefixes)

    # the weights are those of the whole log, without a snapshot
    best = result["best"]
    copy = chaos.folder / "replayed-log"
    copy.mkdir()
    shutil.copy(storage.trial_folder(best["number"]) / LOG_NAME, copy)
    rebuild_from_log(plan.trial(best["values"]), copy, best["steps"], chaos.folder / "replayed", "the best")
    trained, replayed = (
        load_file(folder / "model.safetensors") for folder in (storage.model_folder, chaos.folder / "replayed")
    )
    assert trained.keys() == replayed.keys()
    assert all(trained[name].equal(replayed[name]) for name in trained)
