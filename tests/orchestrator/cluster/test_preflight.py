import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from ray._raylet import AuthenticationMode

from orchestrator.cluster.preflight import (
    Demand,
    _problem_on_node,
    require_resources,
    require_shared,
    require_state_api,
    require_tokens,
)
from orchestrator.storage.paths import Storage


def node(host: str, alive: bool = True, **resources: float) -> dict:
    return {
        "NodeID": host,
        "NodeManagerHostname": host,
        "NodeManagerAddress": "10.0.0.1",
        "Alive": alive,
        "Resources": resources,
    }


@pytest.mark.parametrize(
    ("demand", "nodes"),
    [
        (Demand(2, 1), [node("a", CPU=2)]),
        (Demand(4, 2), [node("a", CPU=5), node("b", CPU=4)]),
        (Demand(4, 1, gpus=0.5), [node("head", CPU=8), node("a", CPU=8, GPU=2)]),
        (Demand(3, 0.1), [node("a", CPU=0.3)]),
    ],
)
def test_what_fits_passes(demand, nodes):
    require_resources(demand, nodes)


@pytest.mark.parametrize(
    ("demand", "nodes"),
    [
        (Demand(3, 1), [node("a", CPU=2)]),
        (Demand(3, 2), [node("a", CPU=3), node("b", CPU=3)]),  # six in all, and no node has room for two
        (Demand(1, 1, gpus=1), [node("head", CPU=8)]),
        (Demand(2, 1), [node("a", CPU=1), node("b", alive=False, CPU=8)]),
    ],
)
def test_what_would_wait_for_ever_is_refused(demand, nodes):
    with pytest.raises(ValueError, match="at once; the Ray cluster has room for"):
        require_resources(demand, nodes)


def test_the_refusal_shows_its_arithmetic():
    demand = Demand(8, 2, gpus=1, what="2 trials at once × 4 workers")
    with pytest.raises(ValueError, match="trials") as refusal:
        require_resources(demand, [node("head", CPU=4), node("big", CPU=16, GPU=6)])
    assert str(refusal.value) == (
        "2 trials at once × 4 workers want 8 × (2 CPUs and 1 GPUs) at once; the Ray cluster has room for 6 (head: 4 "
        "CPUs, 0 GPUs; big: 16 CPUs, 6 GPUs). Lower search.concurrent_trials, resources.workers or "
        "performance.num_threads, or add nodes."
    )


@pytest.mark.parametrize("url", ["", None])
def test_a_cluster_without_dashboard_is_refused(url):
    with pytest.raises(ValueError, match=r"no dashboard and so no State API\..* the next trial would wait forever"):
        require_state_api(url)


def test_a_sqlite_ledger_is_refused_on_several_machines(tmp_path):
    nodes = [node("a"), node("b")]
    with pytest.raises(ValueError, match=r"budget\.ledger: .* 2 machines \(a, b\), .* postgresql\+psycopg://"):
        require_shared(Storage(tmp_path, "test"), nodes, {})
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"storage_path: .*nowhere cannot be written and locked: No such file"):
        require_shared(Storage(tmp_path / "nowhere", "test"), [node("a")], {})


def test_a_disk_whose_locks_do_not_hold_for_others_is_refused(tmp_path):
    with open(tmp_path / "driver", "w") as held:
        problem = _problem_on_node(str(tmp_path), "node", {})
        assert problem is not None
        assert "could write one release log" in problem
        fcntl.flock(held, fcntl.LOCK_EX)
        assert _problem_on_node(str(tmp_path), "node", {}) is None


@contextmanager
def dashboard(answer: object) -> Iterator[str]:
    """Serve an answer to what a dashboard is asked about its authentication; yield the address."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/api/authentication_mode" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("answer", [{"authentication_mode": "disabled"}, {}, {"authentication_mode": None}])
def test_a_session_that_asks_for_no_token_is_refused_unless_that_is_accepted(monkeypatch, answer):
    monkeypatch.delenv("DPZO_INSECURE", raising=False)
    with dashboard(answer) as url:
        with pytest.raises(ValueError, match=r"asks for no token.*--insecure \(in a program: DPZO_INSECURE=1\)"):
            require_tokens(url)
        monkeypatch.setenv("DPZO_INSECURE", "1")
        require_tokens(url)


def test_a_session_that_asks_for_a_token_passes():
    with dashboard({"authentication_mode": "token"}) as url:
        require_tokens(url)


def test_a_session_without_a_dashboard_goes_by_the_mode_of_this_process(monkeypatch):
    monkeypatch.delenv("DPZO_INSECURE", raising=False)
    monkeypatch.setattr("orchestrator.cluster.preflight.get_authentication_mode", lambda: AuthenticationMode.DISABLED)
    with pytest.raises(ValueError, match="asks for no token"):
        require_tokens(None)
