"""How the ranks of a run exchange int64 arrays: over a gloo process group of their own.

`SingleProcess` serves a run in one process and sends nothing. `GlooGroup` is a gloo group that is independent of
torch's default group: an engine in the same process makes that one, and must find torch.distributed untouched.

The arrays are private until the noise is added. They go from worker to worker only, and sealed (`sealing.py`): whoever
is on the network can end a group, and neither read nor change what it exchanges. The store holds addresses only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
from cryptography.exceptions import InvalidTag

from trainers.errors import DpzoError
from trainers.workers.patience import Patience
from trainers.workers.sealing import TAG_BYTES, Seal

MEETING = timedelta(minutes=15)  # until all ranks are there; they meet before they load their models
LONG_TIMEOUT = timedelta(days=1)  # while rank 0 scores, waits for the ledger, or waits for its next trial

_TAG = 0  # of the messages of a sum: gloo keeps the order of messages between two ranks


class PeerLost(DpzoError, ConnectionError):
    """Another rank died or hangs, or its message was changed. This step released nothing, and will not."""


class Exchange(Protocol):
    """The ranks of a run, or some of them. All ranks call the same methods in the same order.

    Every method raises `PeerLost` if another rank is gone, or does not answer within the timeout.
    """

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum_to_rank_0(self, values: np.ndarray) -> np.ndarray:
        """Return the exact sum of all ranks' int64 arrays of one shape at rank 0, zeros at the other ranks."""
        ...

    def broadcast(self, values: np.ndarray, *, timeout: timedelta | None = None) -> np.ndarray:
        """Return rank 0's int64 array on every rank. The other ranks pass an array of the same shape.

        timeout: how long the other ranks wait for rank 0; the patience for one step by default.
        """
        ...

    def gather(self, values: np.ndarray, *, timeout: timedelta | None = None) -> list[np.ndarray]:
        """Return all ranks' int64 arrays of one shape, in the order of ranks, at rank 0; an empty list elsewhere."""
        ...

    def close(self) -> None:
        """Leave the group. A rank that still waits for this one gets `PeerLost`."""
        ...


class SingleProcess:
    """An `Exchange` of one process: it returns what it is given."""

    rank = 0
    size = 1

    def sum_to_rank_0(self, values: np.ndarray) -> np.ndarray:
        return values

    def broadcast(self, values: np.ndarray, *, timeout: timedelta | None = None) -> np.ndarray:
        return values

    def gather(self, values: np.ndarray, *, timeout: timedelta | None = None) -> list[np.ndarray]:
        return [values]

    def close(self) -> None:
        pass


class GlooGroup:
    """An `Exchange` over a gloo process group; PeerLost if not all ranks come to the meeting in time.

    Args:
        store: where the ranks meet (a torch.distributed store that all of them see).
        key: with which they seal what they send: fresh for each meeting, and known to its ranks alone.
        name: of this group, unique among the groups that meet at the store.
        address: host name or IP address under which the other machines reach this one.
        patience: how long a rank waits for the slowest rank of a step.
    """

    def __init__(
        self, store: Any, key: bytes, name: str, rank: int, size: int, address: str, patience: Patience
    ) -> None:
        from torch.distributed import PrefixStore, ProcessGroupGloo  # pyright: ignore[reportPrivateImportUsage]

        self.rank, self.size = rank, size
        self._store, self._key, self._address, self._patience = store, key, address, patience
        self._seal = Seal(key, name, rank)
        gloo: Any = ProcessGroupGloo
        options = gloo._Options()
        options._devices = [gloo.create_device(hostname=address)]
        options._timeout = MEETING
        with _peers_may_be_lost():
            self._group: Any = gloo(PrefixStore(name, store), rank, size, options)

    def subgroup(self, name: str, ranks: Sequence[int]) -> GlooGroup:
        """Return the group of some ranks of this one. All of them must call this, and this rank is one of them."""
        rank, size = ranks.index(self.rank), len(ranks)
        return GlooGroup(self._store, self._key, name, rank, size, self._address, self._patience)

    def sum_to_rank_0(self, values: np.ndarray) -> np.ndarray:
        # a binomial tree of log₂(size) messages: gloo's own reduction sends several times the bytes for short arrays
        self._begin(values)
        total, distance = values.copy(), 1
        while distance < self.size:
            if self.rank & distance:
                self._wait("send", [_tensor(self._seal.seal(total))], self.rank - distance, _TAG)
                return np.zeros_like(values)
            if self.rank + distance < self.size:
                message = _room_for(values)
                self._wait("recv", [message], self.rank + distance, _TAG)
                total += self._opened(message, self.rank + distance, values)
            distance *= 2
        return total

    def broadcast(self, values: np.ndarray, *, timeout: timedelta | None = None) -> np.ndarray:
        from torch.distributed import BroadcastOptions

        self._begin(values)
        options = BroadcastOptions()
        options.rootRank, options.rootTensor = 0, 0
        options.timeout = (timeout if self.rank > 0 else None) or self._patience.length
        message = _room_for(values) if self.rank > 0 else _tensor(self._seal.seal(values))
        self._wait("broadcast", [message], options, timeout=options.timeout)
        return self._opened(message, 0, values)

    def gather(self, values: np.ndarray, *, timeout: timedelta | None = None) -> list[np.ndarray]:
        from torch.distributed import GatherOptions

        self._begin(values)
        options = GatherOptions()
        options.rootRank = 0
        options.timeout = timeout or self._patience.length
        messages = [_room_for(values) for _ in range(self.size)] if self.rank == 0 else []
        outputs = [messages] if messages else []
        self._wait("gather", outputs, [_tensor(self._seal.seal(values))], options, timeout=options.timeout)
        return [self._opened(message, sender, values) for sender, message in enumerate(messages)]

    def close(self) -> None:
        self._group = None  # gloo closes its connections when the last reference goes, those in tracebacks included

    def _begin(self, values: np.ndarray) -> None:
        assert values.dtype == np.int64, "ranks exchange int64 only: a sum of floats depends on the order"
        self._seal.begin_call()

    def _opened(self, message: Any, sender: int, like: np.ndarray) -> np.ndarray:
        try:
            return self._seal.open(message.numpy(), sender).reshape(like.shape)
        except InvalidTag:
            raise PeerLost("a message of another worker of this run was changed or repeated on its way") from None

    def _wait(self, operation: str, *values: Any, timeout: timedelta | None = None) -> None:
        with _peers_may_be_lost():
            getattr(self._group, operation)(*values).wait(timeout or self._patience.length)


@contextmanager
def _peers_may_be_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]  # gloo names the connection, and no value
        if "timed out" in reason.lower():  # the rest is hidden: the timeout would reveal step times
            raise PeerLost("another worker of this run hangs: it sent nothing for longer than a step takes") from None
        raise PeerLost(f"another worker of this run is gone: {reason}") from error


def _tensor(message: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(message)


def _room_for(values: np.ndarray) -> Any:
    """Return a tensor for the message that holds such an array."""
    return _tensor(np.empty(values.nbytes + TAG_BYTES, dtype=np.uint8))
