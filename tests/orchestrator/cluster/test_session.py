import os
import socket
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import pytest
from ray._private import services
from ray._raylet import AuthenticationMode, get_authentication_mode
from ray.exceptions import AuthenticationError

from orchestrator.cluster import address as address_module
from orchestrator.cluster import session
from orchestrator.cluster.address import on_a_cluster
from orchestrator.cluster.demand import Demand
from orchestrator.cluster.session import (
    cluster_session,
    ray_session,
    run_on_worker_node,
    threads_per_trial,
)
from orchestrator.config.loading import load_sweep
from orchestrator.storage.paths import Storage
from tests.support.cluster import node


@pytest.fixture
def sweep(settings, monkeypatch):
    """Load the small sweep with overrides, on a machine with eight cores and without a cluster."""
    monkeypatch.setattr(session.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings["performance"] = {}
    return lambda *overrides: load_sweep(settings, overrides)


@pytest.mark.parametrize(("concurrent", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1)])
def test_trials_at_once_share_the_cores(sweep, concurrent, threads):
    assert threads_per_trial(sweep(f"search.concurrent_trials={concurrent}")) == threads


def test_configured_threads_are_taken_as_they_are(sweep):
    assert threads_per_trial(sweep("search.concurrent_trials=2", "performance.num_threads=3")) == 3


def test_more_than_the_machine_has_is_refused_with_the_arithmetic(sweep):
    with pytest.raises(ValueError, match="cores") as refusal:
        threads_per_trial(sweep("search.concurrent_trials=3", "performance.num_threads=4"))
    assert str(refusal.value) == (
        "3 trials at once × 4 threads want 12 CPU cores; this machine has 8. "
        "Lower search.concurrent_trials or performance.num_threads."
    )


def test_more_trials_than_cores_are_refused(sweep):
    with pytest.raises(ValueError, match="9 trials at once × 1 threads want 9 CPU cores; this machine has 8"):
        threads_per_trial(sweep("search.concurrent_trials=9"))


def test_a_cluster_is_not_held_against_this_machine(sweep, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    assert threads_per_trial(sweep("search.concurrent_trials=3", "performance.num_threads=4")) == 4


def test_a_machine_that_does_not_know_its_cores_has_one(sweep, monkeypatch):
    monkeypatch.setattr(session.os, "cpu_count", lambda: None)
    assert threads_per_trial(sweep()) == 1


def test_importing_the_session_starts_no_cluster():
    code = "import ray, orchestrator.cluster.session; print(ray.is_initialized())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9: Connection refused"),
        ("ray://head:10001", "expected host:port of the head, or auto"),
        ("http://127.0.0.1:8265", "expected host:port of the head, or auto"),
        ("auto", "it is auto, and no Ray cluster runs on this machine"),
        ("head", "expected host:port of the head, or auto"),
    ],
)
def test_an_address_where_nobody_answers_is_no_hang(sweep, tmp_path, monkeypatch, address, word):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(services, "find_gcs_addresses", cache(set))
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    with pytest.raises(ValueError, match=word), cluster_session(sweep(), Demand(1, 1), Storage(tmp_path, "test")):
        pass


def test_auto_where_the_cluster_has_died_is_no_hang(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(services, "find_gcs_addresses", cache(set))
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: "127.0.0.1:9")
    with (
        pytest.raises(ValueError, match="no Ray cluster answers at auto: Connection refused"),
        cluster_session(sweep(), Demand(1, 1), Storage(tmp_path, "test")),
    ):
        pass


def test_another_python_than_the_cluster_has_is_one_line(sweep, tmp_path, monkeypatch):
    def refuse(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Python: 3.12.1\nThis process: 3.11.9")

    monkeypatch.setattr(session.ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{listening.getsockname()[1]}")
        with (
            pytest.raises(ValueError, match=r"RAY_ADDRESS: Version mismatch: .* Python: 3\.12\.1 This process"),
            cluster_session(sweep(), Demand(1, 1), Storage(tmp_path, "test")),
        ):
            pass


def test_a_cluster_on_this_machine_is_neither_taken_nor_ignored(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(session.ray, "init", lambda **_: pytest.fail("a session was started"))
    storage = Storage(tmp_path, "test")
    with socket.create_server(("127.0.0.1", 0)) as head:
        here = f"127.0.0.1:{head.getsockname()[1]}"
        monkeypatch.setattr(address_module, "read_ray_address", lambda: here)
        for begin in (lambda: cluster_session(sweep(), Demand(1, 1), storage), lambda: ray_session(1)):
            with pytest.raises(ValueError, match=f"machine, at {here}. Set RAY_ADDRESS=auto .* or RAY_ADDRESS=local"):
                begin().__enter__()
        monkeypatch.setenv("RAY_ADDRESS", "local")
        assert not on_a_cluster()
        with cluster_session(sweep(), Demand(1, 1), storage):
            pass
    monkeypatch.delenv("RAY_ADDRESS")
    with cluster_session(sweep(), Demand(1, 1), storage):  # the cluster is gone, and has left its address there
        pass


@pytest.mark.parametrize(
    "given", [{}, {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": "/x"}, {"RAY_AUTH_TOKEN": "mine"}]
)
def test_a_session_of_this_machine_has_a_token_in_the_environment_and_listens_on_the_loopback(monkeypatch, given):
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen = []

    def init(**settings):
        seen.append({**os.environ, "address": services.get_node_ip_address(), "mode": get_authentication_mode()})
        return SimpleNamespace(dashboard_url=None)

    monkeypatch.setattr(session.ray, "init", init)
    monkeypatch.setattr(address_module, "read_ray_address", lambda: None)
    before = dict(os.environ)
    for _ in range(2):
        with ray_session(1):
            pass
    first, second = seen
    assert (first["RAY_AUTH_MODE"], first["mode"], first["address"]) == ("token", AuthenticationMode.TOKEN, "127.0.0.1")
    assert len(first["RAY_AUTH_TOKEN"]) == 64 or first["RAY_AUTH_TOKEN"] == given["RAY_AUTH_TOKEN"]
    assert (first["RAY_AUTH_TOKEN"] == second["RAY_AUTH_TOKEN"]) == ("RAY_AUTH_TOKEN" in given)
    assert {name: value for name, value in os.environ.items() if name not in session.QUIET} == {
        name: value for name, value in before.items() if name not in session.QUIET
    }
    assert get_authentication_mode() == AuthenticationMode.DISABLED


@pytest.mark.parametrize("refusal", [ConnectionError("no"), AuthenticationError("no")])
def test_another_authentication_is_said_with_what_to_set(sweep, tmp_path, monkeypatch, refusal):
    def refuse(**_):
        raise refusal

    monkeypatch.setattr(session.ray, "init", refuse)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{listening.getsockname()[1]}")
        with (
            pytest.raises(ValueError, match=r"does not let this process in\. RAY_AUTH_MODE is disabled here"),
            cluster_session(sweep(), Demand(1, 1), Storage(tmp_path, "test")),
        ):
            pass


def test_without_a_cluster_the_model_is_loaded_right_here(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert run_on_worker_node(Demand(1, 1), lambda one, other: one + other, 1, 2) == 3


def test_without_a_cluster_a_session_of_its_own_is_started(monkeypatch, capsys):
    """Not the one that somebody may have started on this machine; and what Ray says is no result."""
    begun = []

    def init(**settings):
        begun.append(settings)
        print("a node is lost")
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(session.ray, "init", init)
    monkeypatch.setattr(address_module, "read_ray_address", lambda: None)
    with ray_session(3):
        print("another node is lost")
    (settings,) = begun
    assert (settings["address"], settings["num_cpus"], settings["include_dashboard"]) == ("local", 3, True)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "a node is lost\nanother node is lost\n")


def test_a_machine_without_the_nodes_that_are_asked_for_is_refused(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(session.ray, "init", lambda **_: SimpleNamespace(dashboard_url=None))
    monkeypatch.setattr(session.ray, "nodes", lambda: [node("here", CPU=2)])
    monkeypatch.setattr(address_module, "read_ray_address", lambda: None)
    with ray_session(2, Demand(2, 1)):
        pass
    with pytest.raises(ValueError, match=r"on nodes labelled zone: a.* has room for 0"):
        ray_session(2, Demand(2, 1, labels={"zone": "a"})).__enter__()


def test_a_session_that_a_program_began_is_refused_if_it_is_open(monkeypatch):
    monkeypatch.delenv("DPZO_INSECURE", raising=False)
    monkeypatch.setattr(session.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(session.ray, "init", lambda **settings: SimpleNamespace(dashboard_url="127.0.0.1:9"))
    with pytest.raises(ValueError, match="asks for no token"), ray_session(1):
        pass
