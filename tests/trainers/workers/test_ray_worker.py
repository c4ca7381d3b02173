"""Which errors end a run, and after which all workers are started again."""

from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from trainers.mechanism.release_log import LogInUseError
from trainers.workers import ray_worker
from trainers.workers.exchange import PeerLost
from trainers.workers.ranks import Ranks


@pytest.mark.parametrize(
    ("error", "ends_the_run"),
    [
        (PeerLost("gone"), False),
        (LogInUseError("an earlier group still writes it"), False),
        (RayActorError(), False),
        (ValueError("no such model"), True),
        (MemoryError(), True),
    ],
)
def test_what_an_earlier_group_leaves_behind_ends_no_run(monkeypatch, error, ends_the_run):
    left = []
    mailbox = SimpleNamespace(error=SimpleNamespace(remote=lambda: None), fail=SimpleNamespace(remote=left.append))
    monkeypatch.setattr(ray_worker, "_meet", lambda config: Ranks())
    monkeypatch.setattr(ray_worker.ray, "get", lambda answer: answer)

    def task(ranks, mailbox):
        raise error

    with pytest.raises(type(error)):
        ray_worker._live(task, None, mailbox)
    assert left == ([error] if ends_the_run else [])
