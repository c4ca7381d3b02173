"""`dpzo doctor --cluster` says of each node what a sweep's preflight would say, without a sweep."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import ray
from typer.testing import CliRunner

from orchestrator.api.views.doctor import doctor_summary
from orchestrator.checks.doctor import cluster as doctor
from orchestrator.checks.doctor.cluster import diagnose_cluster
from orchestrator.cli.app import app
from orchestrator.cluster.nodes import NodeReport, versions_here
from tests.orchestrator.terminal import shown
from tests.support.cluster import node
from tests.support.project import write_config

NODES = [node("head"), node("worker1", CPU=2), node("worker2", CPU=2), node("lost", alive=False, CPU=8)]


@pytest.fixture
def look(monkeypatch, tmp_path, settings):
    """Diagnose with stand-ins for a cluster; return findings by name, as (state, found, hint)."""
    free, waiting, problems = {"worker1": {"CPU": 2.0}, "worker2": {"CPU": 1.0}}, {}, {}

    @contextmanager
    def connection():
        yield "127.0.0.1:8265"

    def reports(nodes, storage, inputs):
        return [NodeReport(one["NodeID"], "10.0.0.1", versions_here(), problems.get(one["NodeID"])) for one in nodes]

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(doctor, "cluster_connection", connection)
    monkeypatch.setattr(doctor, "node_reports", reports)
    monkeypatch.setattr(doctor, "require_state_api", lambda url: None)
    monkeypatch.setattr(doctor, "require_tokens", lambda url: None)
    monkeypatch.setattr(ray, "nodes", lambda: NODES)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="10.0.0.1:6379"))
    monkeypatch.setattr(doctor, "available_resources_per_node", lambda: free)
    monkeypatch.setattr(doctor, "placement_group_table", lambda: waiting)
    path = write_config(tmp_path, settings)

    def run(*overrides, file=True, problem=None, pending=()):
        problems.update(problem or {})
        waiting.update(enumerate(pending))
        diagnosis = diagnose_cluster(path if file else None, overrides)
        return diagnosis, {one.name: (one.state, one.found, one.hint) for one in diagnosis.findings}

    return run


LEDGER = "budget.ledger=postgresql+psycopg://dpzo@db/dpzo"


def test_a_cluster_that_fits(look):
    diagnosis, found = look(LEDGER, "search.concurrent_trials=2")
    assert diagnosis.is_healthy
    assert found["Ray"][1] == "3 nodes, head at 10.0.0.1:6379"
    assert found["node worker1 (10.0.0.1)"][1].startswith("2 CPUs, 0 GPUs, Python 3.")
    assert found["ledger"][:2] == ("ok", "reached from 3 nodes")
    assert found["demand"][:2] == ("ok", "2 trials at once want 2 × (1 CPUs); room for 4, 3 of it free now")


def test_what_others_hold_and_wait_for_is_said(look):
    pending = [
        {"state": "PENDING", "bundles": {0: {"CPU": 1.0}, 1: {"CPU": 1.0}}},
        {"state": "PENDING", "bundles": {0: {"CPU": 1.0, "GPU": 1.0}}},
        {"state": "CREATED", "bundles": {0: {"CPU": 1.0}}},
    ]
    diagnosis, found = look(LEDGER, "search.concurrent_trials=4", pending=pending)
    assert diagnosis.is_healthy
    assert found["demand"][1].endswith("room for 4, 3 of it free now: the rest waits until others end")
    assert [one.found for one in diagnosis.findings if one.name == "pending"] == [
        "2 × (1 CPUs) wait: others hold it",
        "1 × (1 CPUs and 1 GPUs) wait: there is room for 0",
    ]


def test_what_the_preflight_refuses_fails_in_its_words(look):
    diagnosis, found = look("search.concurrent_trials=5", problem={"worker2": "storage_path /x is missing."})
    assert not diagnosis.is_healthy
    assert found["node worker2 (10.0.0.1)"][0::2] == ("failed", "storage_path /x is missing.")
    assert found["demand"][0] == "failed"
    assert "5 trials at once want 5 × (1 CPUs) at once; the Ray cluster has room for 4" in found["demand"][1]
    assert "storage" not in found
    assert max(map(len, shown(doctor_summary(diagnosis)).splitlines())) <= 80


def test_a_sqlite_ledger_on_several_machines_fails(look):
    _, found = look()
    assert found["ledger"][0] == "failed"
    assert "SQLite ledger counts correctly on one machine only" in found["ledger"][1]


def test_without_a_file_nodes_are_compared(look):
    diagnosis, found = look(file=False)
    assert diagnosis.is_healthy
    assert found["storage, ledger"][0] == "absent"
    assert "demand" not in found


@pytest.mark.parametrize("address", [None, "local", "127.0.0.1:9", "http://127.0.0.1:8265"])
def test_without_a_cluster_it_fails_in_one_line(monkeypatch, address):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("orchestrator.cluster.address.read_ray_address", lambda: None)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    result = CliRunner().invoke(app, ["doctor", "--cluster", "--format", "json"])
    assert result.exit_code == 1
    assert "RAY_ADDRESS" in result.stdout
    assert len(diagnose_cluster(None).findings) == 1
