"""The driver of a cluster goes with one line when nobody answers at the head's address, and only then."""

import socket
import time

import pytest

from orchestrator.cluster import head_watch
from orchestrator.cluster.head_watch import EXIT_CODE, head_watched


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    monkeypatch.setattr(head_watch, "LOOK_S", 0.01)
    monkeypatch.setenv(head_watch.RAY_PATIENCE, "0.4")


@pytest.fixture
def head():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(head: socket.socket) -> str:
    return f"127.0.0.1:{head.getsockname()[1]}"


def wait_for(left: list[int]) -> None:
    deadline = time.monotonic() + 30
    while not left and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_head_that_is_gone_ends_the_process_with_one_line(head, capsys):
    left: list[int] = []
    address = address_of(head)
    with head_watched(address, left.append):
        head.close()
        wait_for(left)
    assert left == [EXIT_CODE]
    said = capsys.readouterr().err
    assert said.startswith(f"Stopped: the head of the Ray cluster at {address} is gone.")
    assert said.strip().count("\n") == 0
    assert "`dpzo resume`" in said


def test_a_head_that_answers_again_in_time_ends_nothing(head, monkeypatch):
    answers = iter([True] + 30 * [False, True])  # away again and again, never for long
    monkeypatch.setattr(head_watch, "_answers", lambda _: next(answers, True))
    left: list[int] = []
    with head_watched(address_of(head), left.append):
        time.sleep(1.0)
    assert left == []


def test_nobody_watches_after_the_body(head):
    left: list[int] = []
    with head_watched(address_of(head), left.append):
        pass
    head.close()
    time.sleep(0.6)
    assert left == []
