from types import SimpleNamespace

import pytest
from ray._raylet import AuthenticationMode

from orchestrator.cluster import closed_session
from orchestrator.cluster import ray_dashboard as module
from orchestrator.cluster.ray_dashboard import job_metadata, opened_dashboard
from orchestrator.storage.paths import Storage

ADDRESS = "127.0.0.1:8265"


@pytest.fixture
def in_session(monkeypatch):
    context = SimpleNamespace(dashboard_url=ADDRESS)
    monkeypatch.setattr(module, "ray", SimpleNamespace(is_initialized=lambda: True, init=lambda **_: context))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return context


def test_a_token_that_was_made_lies_with_the_operator_while_the_session_lasts(in_session, tmp_path, monkeypatch):
    monkeypatch.setattr(closed_session, "_own_token", "secret-of-the-session")
    storage = Storage(tmp_path, "reviews")
    file = storage.operator_folder / "ray-token"
    with storage.lock(), opened_dashboard(storage) as line:
        assert line == f"Ray's dashboard: http://{ADDRESS} · its token: cat {file}"
        assert file.read_text() == "secret-of-the-session\n"
        assert storage.operator_folder.stat().st_mode & 0o077 == 0
    assert not file.exists()


def test_a_token_that_was_given_is_not_written_down(in_session, tmp_path):
    with opened_dashboard(Storage(tmp_path, "reviews")) as line:
        assert line == f"Ray's dashboard: http://{ADDRESS} · its token: your RAY_AUTH_TOKEN"
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        (AuthenticationMode.TOKEN, "its token: ray get-auth-token, on the head"),
        (AuthenticationMode.DISABLED, "it asks for no token"),
    ],
)
def test_of_a_cluster_the_head_has_the_token(in_session, tmp_path, monkeypatch, mode, advice):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(module, "get_authentication_mode", lambda: mode)
    with opened_dashboard(Storage(tmp_path, "reviews")) as line:
        assert line.endswith(advice)


def test_without_a_dashboard_there_is_no_line(in_session, tmp_path, monkeypatch):
    in_session.dashboard_url = ""
    with opened_dashboard(Storage(tmp_path, "reviews")) as line:
        assert line is None
    monkeypatch.setattr(module, "ray", SimpleNamespace(is_initialized=lambda: False))
    with opened_dashboard(Storage(tmp_path, "reviews")) as line:
        assert line is None


def test_a_job_has_its_name_and_an_epsilon_that_is_rounded_up(tmp_path):
    assert job_metadata(Storage(tmp_path, "reviews"), 2.99999) == {
        "job_name": "reviews",
        "epsilon": "3",
        "folder": str(tmp_path / "reviews"),
    }
