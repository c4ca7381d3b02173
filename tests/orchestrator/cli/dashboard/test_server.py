"""The server of the page: one token, one machine, GET alone, and nothing from elsewhere."""

import http.client
import json
import re
from threading import Thread

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.cli.dashboard import server as module
from orchestrator.cli.dashboard.server import FILES, STATIC, DashboardServer
from orchestrator.cli.dashboard.snapshot import Place, RunLine
from orchestrator.privacy.errors import LedgerUnreachable

TOKEN = "a-token-of-the-test"


class OneLine(Place):
    def lines(self):
        return [RunLine("reviews <b>", "sweep", "running", "4 of 12", "3", "3")]


@pytest.fixture
def serve(tmp_path):
    """Start a server; ask it with (path, method, headers)."""
    servers = []

    def start(place=None, **how):
        server = DashboardServer(place or OneLine(tmp_path, "everyone"), 0, TOKEN, **how)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)

        def ask(path, method="GET", host=None):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
            headers = {} if host is None else {"Host": host}
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.headers)

        return ask

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_page_and_its_parts_come_from_this_server_alone(serve):
    ask = serve()
    status, page, headers = ask(f"/{TOKEN}/")
    assert status == 200
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page)) == set(FILES) - {""}
    for name in FILES:
        assert ask(f"/{TOKEN}/{name}")[0] == 200
        assert "//" not in re.sub(r"//.*|http://www.w3.org/2000/svg", "", (STATIC / FILES[name]).read_text())
    assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert ask(f"/{TOKEN}")[2]["Location"] == f"/{TOKEN}/"


@pytest.mark.parametrize("path", ["/", "/runs.json", f"/{TOKEN[:-1]}/runs.json", "/%C3%A9/", "/api/health"])
def test_without_the_token_there_is_nothing(serve, path):
    status, body, _ = serve()(path)
    assert (status, "reviews" in body) == (403, False)


def test_a_name_that_leads_here_from_elsewhere_is_refused(serve):
    """A page of another site may let its own name lead to 127.0.0.1, and would then read what is here."""
    ask = serve()
    assert ask(f"/{TOKEN}/runs.json", host="attacker.example:8275")[0] == 403
    assert ask(f"/{TOKEN}/runs.json", host="localhost:9000")[0] == 200  # a tunnel from another port


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_only_get_is_answered(serve, method):
    assert serve()(f"/{TOKEN}/", method)[0] == 501


@pytest.mark.parametrize("path", ["page", "../snapshot", "%2e%2e/static", "static/page.html", "runs.json/"])
def test_no_other_file_is_served(serve, path):
    assert serve()(f"/{TOKEN}/{path}")[0] == 404


def test_numbers_come_as_json_and_are_read_once_a_second(serve, tmp_path):
    reads = []

    class Counting(OneLine):
        def lines(self):
            reads.append(1)
            return super().lines()

    ask = serve(Counting(tmp_path, "everyone"))
    found = [json.loads(ask(f"/{TOKEN}/runs.json")[1]) for _ in range(3)]
    assert found[0][0]["name"] == "reviews <b>"
    assert len(reads) == 1
    status, body, _ = ask(f"/{TOKEN}/run.json?name=other")
    assert (status, "no run or sweep of this name" in json.loads(body)["error"]) == (503, True)


def test_a_ledger_that_does_not_answer_is_said_and_asked_again(serve, tmp_path, monkeypatch):
    class Away(OneLine):
        def lines(self):
            raise LedgerUnreachable("The ledger does not answer.")

    monkeypatch.setattr(module, "KEPT_S", 0.0)
    ask = serve(Away(tmp_path, "everyone"))
    assert ask(f"/{TOKEN}/runs.json")[:2] == (
        503,
        '{\n  "error": "The ledger does not answer."\n}\n',
    )


def test_an_error_that_nobody_expects_shows_no_text(serve, tmp_path, capfd):
    class Broken(OneLine):
        def lines(self):
            raise RuntimeError("private text")

    ask = serve(Broken(tmp_path, "everyone"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(f"/{TOKEN}/runs.json")
    assert capfd.readouterr().err == "A request failed with RuntimeError.\n"


def test_rays_metrics_tab_gets_the_page_in_the_place_of_grafana(serve):
    ask = serve(in_ray=True)
    assert json.loads(ask("/api/health")[1])["database"] == "ok"
    assert json.loads(ask("/api/v1/query?query=vector(1)")[1])["status"] == "success"
    status, _, headers = ask(f"/{TOKEN}/d/rayDefaultDashboard/?orgId=1&kiosk=tv")
    assert (status, headers["Location"]) == (302, f"/{TOKEN}/")
    assert "in the Metrics tab" in ask(f"/{TOKEN}/d-solo/rayDefaultDashboard?panelId=24")[1]
    assert "frame-ancestors http://127.0.0.1:* http://localhost:*" in ask(f"/{TOKEN}/")[2]["Content-Security-Policy"]
    assert ask("/d/rayDefaultDashboard/")[0] == 403


def run(*arguments, env=None):
    return CliRunner().invoke(app, ["dashboard", *map(str, arguments)], env=env)


def test_the_address_is_printed_alone_on_standard_output(tmp_path, monkeypatch):
    monkeypatch.setattr(DashboardServer, "serve_forever", lambda self: None)
    done = run(tmp_path, "--port", "0")
    assert done.exit_code == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/\n", done.stdout)
    assert "Whoever has the address sees it" in done.stderr
    done = run(tmp_path, "--port", "0", "--in-ray", env={"DPZO_DASHBOARD_TOKEN": TOKEN})
    base = done.stdout.removesuffix(f"/{TOKEN}/\n")
    for line in (f"RAY_GRAFANA_HOST={base}", f"RAY_PROMETHEUS_HOST={base}", f"RAY_GRAFANA_IFRAME_HOST={base}/{TOKEN}"):
        assert f"export {line}\n" in done.stderr


def test_what_cannot_be_served_is_one_line(tmp_path):
    with DashboardServer(OneLine(tmp_path, "everyone"), 0, TOKEN) as taken:
        done = run(tmp_path, "--port", taken.server_port)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert f"--port {taken.server_port}: another program listens there; choose another" in done.stderr
    done = run(tmp_path / "none")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "there is no config.json" in done.stderr
    done = run(tmp_path, env={"DPZO_DASHBOARD_TOKEN": "short"})
    assert (done.exit_code, "DPZO_DASHBOARD_TOKEN: expected at least 16" in done.stderr) == (2, True)
    assert "short" not in done.stderr
