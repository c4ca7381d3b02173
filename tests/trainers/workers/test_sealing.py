"""What somebody on the network sees of an exchange, and what comes of changing it."""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag

from tests.support.ranks import in_threads, only_lost
from trainers.workers.exchange import GlooGroup
from trainers.workers.ray_worker import open_store
from trainers.workers.sealing import KEY_BYTES, TAG_BYTES, Seal

SECRET = np.array([0x1122334455667788, -0x0102030405060708, 3])
CALLS = {
    "sum": lambda group: group.sum_to_rank_0(SECRET),
    "broadcast": lambda group: group.broadcast(SECRET if group.rank == 0 else np.zeros_like(SECRET)),
    "gather": lambda group: group.gather(SECRET),
}


def on_the_wire(monkeypatch, change=lambda received: None) -> list[bytes]:
    """Return the list of all messages that will be sent; `change` may alter the tensors that a rank receives."""
    sent, true, lock = [], GlooGroup._wait, threading.Lock()

    def wait(self, operation, *values, **how):
        first, second = values[0], values[1]
        outgoing = second if operation == "gather" else first if self.rank == 0 or operation == "send" else []
        with lock:
            sent.extend(tensor.numpy().tobytes() for tensor in outgoing)
        true(self, operation, *values, **how)
        if operation == "recv" or (operation == "broadcast" and self.rank > 0):
            change(first)
        if operation == "gather" and self.rank == 0:
            change(first[0])

    monkeypatch.setattr(GlooGroup, "_wait", wait)
    return sent


@pytest.mark.parametrize("name", CALLS)
def test_a_listener_sees_no_value_and_the_ranks_get_it(monkeypatch, name):
    sent = on_the_wire(monkeypatch)
    first, *_ = in_threads(3, lambda ranks: CALLS[name](ranks._exchange))
    expected = {"sum": 3 * SECRET, "broadcast": SECRET, "gather": [SECRET] * 3}[name]
    np.testing.assert_array_equal(first, expected)
    assert sent
    assert {len(message) for message in sent} == {SECRET.nbytes + TAG_BYTES}
    for multiple in (1, 2, 3):
        for word in (multiple * SECRET)[:2]:
            assert not any(word.tobytes() in message for message in sent)


def flipped(received) -> None:
    received[-1][0] ^= 1


def swapped(received) -> None:
    received[0], received[-1] = received[-1].clone(), received[0].clone()


def replaying():
    """Return a change that puts the first message that a rank received in the place of the second one."""
    seen = defaultdict(list)

    def change(received):
        own = seen[threading.get_ident()]
        own.append([tensor.clone() for tensor in received])
        for tensor, old in zip(received, own[0], strict=True):
            tensor.copy_(old)

    return change


ATTACKS = {"flipped": lambda: flipped, "replayed": replaying, "of another sender": lambda: swapped}


@pytest.mark.parametrize(
    ("name", "attack"),
    [*((name, attack) for name in CALLS for attack in ("flipped", "replayed")), ("gather", "of another sender")],
)
def test_a_message_that_is_not_as_it_was_sent_ends_the_group_with_one_line(monkeypatch, name, attack):
    on_the_wire(monkeypatch, ATTACKS[attack]())

    def job(ranks):
        for _ in range(2):
            CALLS[name](ranks._exchange)
        ranks._exchange.broadcast(SECRET)  # where all hear of it that did not read the message

    errors = in_threads(2, job)
    assert only_lost(errors), errors
    assert any(str(error).endswith("was changed or repeated on its way") for error in errors)
    assert all("\n" not in str(error) for error in errors)


def test_the_messages_tell_no_size_of_a_batch(monkeypatch):
    lengths = []
    for size in (0, 1, 40):
        sent = on_the_wire(monkeypatch)

        def job(ranks, size=size):
            ranks.begin_run(16.0)
            losses = np.arange(3.0 * size).reshape(3, size)
            return ranks.gather_losses(
                ["a", "b", "c"], size, lambda probes: losses["abc".index(probes[0]) :][: len(probes)]
            )

        whole, none = in_threads(2, job, group_size=2)
        np.testing.assert_array_equal(whole, np.arange(3.0 * size).reshape(3, size))
        assert none is None
        lengths.append(sorted(map(len, sent)))
        monkeypatch.undo()
    assert lengths[0] == lengths[1] == lengths[2]


def test_no_nonce_is_used_twice_and_groups_do_not_read_each_other():
    key = bytes(KEY_BYTES)
    one, other, elsewhere = Seal(key, "all", 0), Seal(key, "all", 1), Seal(key, "group-0", 1)
    with pytest.raises(RuntimeError, match="one message a call"):
        one.seal(SECRET)
    for seal in (one, other, elsewhere):
        seal.begin_call()
    message = one.seal(SECRET)
    with pytest.raises(RuntimeError, match="one message a call"):
        one.seal(SECRET)
    np.testing.assert_array_equal(other.open(message, 0), SECRET)
    for seal, sender in ((elsewhere, 0), (other, 1)):
        with pytest.raises(InvalidTag):
            seal.open(message, sender)


def test_the_store_listens_on_its_address_alone():
    store = open_store("127.0.0.1")
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    port = f"{store.port:04X}"
    places = [words[1] for words in lines if words[1].endswith(f":{port}") and words[3] == "0A"]
    assert places == [f"0100007F:{port}"]
