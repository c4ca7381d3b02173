"""Sweeps on a Ray cluster that is there already (RAY_ADDRESS): what it lacks is said, and what it has is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from tests.support.cluster import RayCluster
from tests.support.project import write_config

# the driver's machine cannot load the model: only a task on the cluster can
DRIVER = """
import sys
import trainers.evaluators.transformers.evaluator as evaluators
def no_hardware(*_, **__):
    raise AssertionError("the driver was about to load the model")
evaluators.load_model = no_hardware
from orchestrator.cli.app import app
app(sys.argv[1:])
"""


# a worker that shows metrics, and a reader of its node's metrics port, which has no password
LOOK = """
import time, urllib.request, ray
from pathlib import Path
from orchestrator.storage.paths import Storage
from orchestrator.sweep.ray_metrics import show_score
ray.init(log_to_driver=False)

@ray.remote(num_cpus=1)
class Worker:
    def show(self):
        show_score(Storage(Path("/"), "reviews"), "trial-003", 13, 0.75, 1.5)
        return ray.get_runtime_context().get_node_id()

worker = Worker.remote()
node = ray.get(worker.show.remote())
(port,) = [one["MetricsExportPort"] for one in ray.nodes() if one["NodeID"] == node]
for _ in range(120):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}").read().decode()
    lines = [line for line in text.splitlines() if line.startswith("ray_dpzo_")]
    if len(lines) == 3:
        break
    time.sleep(0.5)
print(*lines, sep=chr(10))
"""


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, and a node with two."""
    with RayCluster({"num_cpus": 0}, {"num_cpus": 2, "labels": {"zone": "a"}}) as cluster:
        yield cluster


def sweep(path: Path, env: dict[str, str], *overrides: str, verb: str = "sweep") -> subprocess.CompletedProcess:
    sets = [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "-c", DRIVER, *verb.split(), str(path), "--format", "json", *sets]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)


def test_a_head_without_hardware_drives_a_sweep(cluster, settings, tmp_path):
    settings["resources"] = {"labels": {"zone": "in(a, b)"}}
    path = write_config(tmp_path, settings)
    done = sweep(path, cluster.env(), "search.num_trials=2", "search.concurrent_trials=2")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [trial["state"] for trial in result["trials"]] == ["complete", "complete"]
    assert 0 <= result["zero_shot"] <= 1
    assert (Path(result["model_folder"]) / "model.safetensors").is_file()
    assert Ledger(f"sqlite:///{tmp_path}/runs/dpzo.db").drawn("test", TRAIN_STEP) == 8
    assert not list((tmp_path / "runs").glob(".preflight*"))


def test_the_doctor_sees_each_node_as_the_preflight_does(cluster, settings, tmp_path):
    path = write_config(tmp_path, settings)
    done = sweep(path, cluster.env(), "resources.labels.zone=b", verb="doctor --cluster")
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert [one["state"] for one in findings] == ["ok"] * 7 + ["failed"]
    names = [one["name"].split()[0] for one in findings]
    assert names == ["Ray", "dashboard", "authentication", "node", "node", "storage", "ledger", "demand"]
    assert "on nodes labelled zone: b) at once; the Ray cluster has room for 0" in findings[-1]["found"]
    assert not (tmp_path / "runs" / "dpzo.db").exists()


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("performance.num_threads=3", "2 trials at once want 2 × (3 CPUs) at once; the Ray cluster has room for 0"),
        ("model.dtype=float8", "float8"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_reserved(cluster, settings, tmp_path, override, word):
    path = write_config(tmp_path, settings)
    done = sweep(path, cluster.env(), "search.concurrent_trials=2", override)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "dpzo.db").exists()


def test_a_model_that_does_not_load_on_the_cluster_leaves_no_reservation(cluster, settings, tmp_path):
    settings["method"]["smoothing"] = 1e-12  # lost in rounding, as only a loaded model shows
    done = sweep(write_config(tmp_path, settings), cluster.env())
    assert done.returncode == 2, done.stderr
    assert "rounding" in done.stderr
    assert "Traceback" not in done.stderr
    assert Ledger(f"sqlite:///{tmp_path / 'runs' / 'dpzo.db'}").reservations() == []  # so the name is free


def test_a_cluster_without_dashboard_is_refused(settings, tmp_path):
    with RayCluster({"num_cpus": 2}, dashboard=False) as bare:
        done = sweep(write_config(tmp_path, settings), bare.env())
    assert done.returncode == 2, done.stderr
    assert "no dashboard and so no State API" in done.stderr


def test_a_cluster_that_asks_for_no_token_is_refused(settings, tmp_path):
    with RayCluster({"num_cpus": 2}, auth_mode="disabled") as bare:
        done = sweep(write_config(tmp_path, settings), bare.env())
        assert done.returncode == 2, done.stderr
        assert "asks for no token" in done.stderr
        assert not (tmp_path / "runs" / "dpzo.db").exists()
        accepted = sweep(
            write_config(tmp_path, settings), bare.env(), "method.smoothing=1e-12", verb="sweep --insecure"
        )
    assert "rounding" in accepted.stderr  # what only a model that was loaded on the cluster shows


def test_metrics_stand_on_the_port_of_the_node(cluster):
    done = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, env=cluster.env(), check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    found = {line.split("{")[0]: line for line in done.stdout.splitlines() if line.startswith("ray_dpzo_")}
    values = {name: float(line.rsplit(" ", 1)[1]) for name, line in found.items()}
    assert values == {
        "ray_dpzo_steps": 13,
        "ray_dpzo_score": 0.75,
        "ray_dpzo_epsilon": 1.5,
    }
    assert all('sweep="reviews"' in line and 'trial="trial-003"' in line for line in found.values())
