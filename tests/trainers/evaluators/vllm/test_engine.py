import os

import pytest
import torch

from trainers.evaluators.vllm.engine import _threads_of_a_worker


@pytest.mark.parametrize(("num_workers", "expected"), [(1, None), (2, "4"), (16, "1")])
def test_workers_that_start_together_share_the_threads(monkeypatch, num_workers, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    with _threads_of_a_worker(num_workers):
        assert os.environ.get("OMP_NUM_THREADS") == expected
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_number_of_threads_that_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with _threads_of_a_worker(2):
        assert os.environ["OMP_NUM_THREADS"] == "3"
    assert os.environ["OMP_NUM_THREADS"] == "3"
