"""A web server on this machine's loopback that shows one page, and answers only those who know its token.

The token is the first part of the path, so that the page needs no cookie and works inside another page. The server
answers GET alone and changes nothing. Ray's dashboard shows the page in its Metrics tab, in the place of Grafana: then
the server also answers, without a token and with constants, the two questions whether Grafana and Prometheus are there.
"""

import errno
import hmac
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from orchestrator.cli.dashboard.snapshot import Place
from orchestrator.cli.output import as_json
from orchestrator.privacy.errors import LedgerCorruptError, LedgerUnreachable
from trainers.errors import has_own_message

HOST = "127.0.0.1"
LOCAL_NAMES = ("127.0.0.1", "localhost")
STATIC = Path(__file__).parent / "static"
FILES = {"": "page.html", "page.css": "page.css", "page.js": "page.js", "charts.js": "charts.js"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
KEPT_S = 1.0  # an answer serves all who ask within this time
MOST_KEPT = 100  # answers
RAY_ASKS = {  # what Ray's head asks of Grafana and Prometheus before it shows its Metrics tab
    "/api/health": {"database": "ok"},
    "/api/v1/query": {"status": "success", "data": {"resultType": "vector", "result": []}},
}
RAY_FRAME, RAY_PANEL = "d/", "d-solo/"  # Grafana's dashboards, and single panels of them
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors "
)
FRAMED_BY = " ".join(f"http://{name}:*" for name in LOCAL_NAMES)


@dataclass(frozen=True)
class Answer:
    """What the server sends: a status, a body and its kind; `location` of a redirect."""

    status: HTTPStatus
    body: bytes = b""
    suffix: str = ".html"
    location: str | None = None


class DashboardServer(ThreadingHTTPServer):
    """Serves the page of a folder.

    Args:
        place: what is shown, and to whom.
        port: of the loopback; 0 takes a free one.
        token: the first part of every path.
        in_ray: whether Ray's dashboard on this machine may show the page.

    ValueError if the port is taken or may not be used.
    """

    daemon_threads = True

    def __init__(self, place: Place, port: int, token: str, *, in_ray: bool = False) -> None:
        self.place, self.token, self.in_ray = place, token, in_ray
        self._kept: dict[str, tuple[float, Answer]] = {}
        self._lock = Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "another program listens there" if is_taken else "it cannot be used"
            raise ValueError(f"--port {port}: {reason}; choose another, such as --port {port % 60000 + 1}") from None

    @property
    def base(self) -> str:
        """The address of the server, without the token."""
        return f"http://{HOST}:{self.server_port}"

    def answer(self, path: str, query: str, host: str) -> Answer:
        """Return the answer to a GET."""
        if host.rpartition(":")[0] not in LOCAL_NAMES:  # a name that leads here from outside: DNS rebinding
            return Answer(HTTPStatus.FORBIDDEN, b"Open this page as 127.0.0.1.")
        if self.in_ray and path in RAY_ASKS:
            return _as_json(RAY_ASKS[path])
        token, slash, rest = path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return Answer(HTTPStatus.FORBIDDEN, b"The address lacks the token that dpzo dashboard printed.")
        if not slash or (self.in_ray and rest.startswith(RAY_FRAME)):
            return Answer(HTTPStatus.FOUND, location=f"/{self.token}/")
        if self.in_ray and rest.startswith(RAY_PANEL):
            return Answer(HTTPStatus.OK, b"A panel of Grafana. The page of dpzo is in the Metrics tab.")
        return self._page(rest, query)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in one line that a request failed; a browser that leaves in the middle is no failure."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            sys.stderr.write(f"A request failed with {type(error).__name__}.\n")

    def _page(self, path: str, query: str) -> Answer:
        if path == "runs.json":
            return self._fresh("runs", self.place.lines)
        if path == "run.json":
            name = parse_qs(query).get("name", [""])[0]
            return self._fresh(f"run {name}", lambda: self.place.view(name))
        if path in FILES:
            file = STATIC / FILES[path]
            return Answer(HTTPStatus.OK, file.read_bytes(), file.suffix)
        return Answer(HTTPStatus.NOT_FOUND, b"There is nothing here.")

    def _fresh(self, key: str, read: Callable[[], Any]) -> Answer:
        """Return what `read` returns as JSON, read again when the last answer is too old."""
        with self._lock:
            then, answer = self._kept.get(key, (-KEPT_S, None))
            if answer is None or monotonic() - then > KEPT_S:
                answer = _read(read)
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                self._kept[key] = monotonic(), answer
            return answer


def _read(read: Callable[[], Any]) -> Answer:
    try:
        return _as_json(read())
    except (ValueError, LedgerUnreachable, LedgerCorruptError) as error:
        if not has_own_message(error):
            raise
        return _as_json({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)


def _as_json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(status, as_json(value).encode(), ".json")


class _Handler(BaseHTTPRequestHandler):
    """Answers GET; any other method gets the answer 501 of the library."""

    server: DashboardServer  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version, sys_version = "dpzo", ""
    timeout = 30  # seconds, for a client that sends nothing

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        answer = self.server.answer(path, query, self.headers.get("Host", ""))
        self.send_response(answer.status)
        if answer.location is not None:
            self.send_header("Location", answer.location)
        self.send_header("Content-Type", f"{TYPES[answer.suffix]}; charset=utf-8")
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Content-Security-Policy", POLICY + (FRAMED_BY if self.server.in_ray else "'none'"))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: an address holds the token."""
