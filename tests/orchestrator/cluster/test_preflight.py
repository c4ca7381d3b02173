import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from ray._raylet import AuthenticationMode

from orchestrator.cluster.preflight import require_ledger_for, require_state_api, require_tokens
from orchestrator.storage.paths import Storage
from tests.support.cluster import node


@pytest.mark.parametrize("url", ["", None])
def test_a_cluster_without_dashboard_is_refused(url):
    with pytest.raises(ValueError, match=r"no dashboard and so no State API\..* the next trial would wait forever"):
        require_state_api(url)


def test_a_sqlite_ledger_is_refused_on_several_machines(tmp_path):
    nodes = [node("a"), node("b")]
    with pytest.raises(ValueError, match=r"budget\.ledger: .* 2 machines \(a, b\), .* postgresql\+psycopg://"):
        require_ledger_for(Storage(tmp_path, "test"), nodes)
    require_ledger_for(Storage(tmp_path, "test"), [node("a"), node("b", alive=False)])
    require_ledger_for(Storage(tmp_path, "test", "postgresql+psycopg://"), nodes)


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
