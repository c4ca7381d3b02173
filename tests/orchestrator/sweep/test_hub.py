"""An exported folder is uploaded by huggingface_hub, to a stand-in of the hub's API on this machine."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.sweep.hub import push_to_hub, require_hub
from trainers.mechanism.release_log import Stopped


class Hub(ThreadingHTTPServer):
    """Takes one commit of regular files; answers every call with `status` where it is set."""

    status: int | None = None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.calls, self.files, self.created = [], {}, {}

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.path, self.headers["Authorization"]))
        answer, status = self._answer(body), self.server.status or 200
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, body):
        if self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            return {"url": f"{self.server.address}/me/model"}
        if "/preupload/" in self.path:
            named = [file["path"] for file in json.loads(body)["files"]]
            return {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in named]}
        if "/commit/" in self.path:
            for entry in map(json.loads, body.splitlines()):
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return {"commitUrl": f"{self.server.address}/me/model/commit/0", "commitOid": "0"}
        return {"errors": [], "warnings": []}

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch):
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_standin")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("---\ntags:\n- dpzo\n---\n# model\n")
    (tmp_path / "privacy_card.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_a_folder_is_one_commit_in_a_private_repository(hub, folder):
    assert push_to_hub(folder, "me/model") == f"{hub.address}/me/model/commit/0"
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "private" in json.dumps(hub.created)
    assert {token for path, token in hub.calls if "validate-yaml" not in path} == {"Bearer hf_standin"}
    assert sum("/commit/" in path for path, _ in hub.calls) == 1


def test_a_hub_that_refuses_is_one_line(hub, folder):
    hub.status = 403
    with pytest.raises(
        Stopped, match="the hub refused with HTTP status 403, and me/model is not as it should be"
    ) as of:
        push_to_hub(folder, "me/model")
    assert "hf_standin" not in str(of.value)


def test_a_hub_that_is_away_is_one_line(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_standin")
    with pytest.raises(Stopped, match="the hub could not be reached"):
        push_to_hub(folder, "me/model")


def test_without_token_or_with_a_name_that_is_none_nothing_begins(monkeypatch):
    monkeypatch.setattr("orchestrator.sweep.hub.get_token", lambda: None)
    with pytest.raises(ValueError, match="there is no token of the hub; give one by `hf auth login` or HF_TOKEN"):
        require_hub("me/model")
    with pytest.raises(ValueError, match="expected a name such as me/my-model"):
        require_hub("https://hub/me/model")
