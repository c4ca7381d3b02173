"""How the ranks of a run exchange int64 arrays: over a gloo process group of their own.

`SingleProcess` serves a run in one process and sends nothing. `GlooGroup` is a gloo group that is independent of
torch's default group: an engine in the same process makes that one, and must find torch.distributed untouched.

What travels here is private until the noise is added. It goes from worker to worker only, in the clear: the network
between the workers of one run must be trusted, or encrypted below (a VPN, WireGuard, a cloud's private network).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

import numpy as np

from trainers.errors import DpzoError
from trainers.workers.patience import Patience

MEETING = timedelta(minutes=15)  # until every rank is there: each loads its model after that, not before
LONG_TIMEOUT = timedelta(days=1)  # for rank 0, which scores, waits for the ledger, or waits for its next trial

_TAG = 0  # of sums; the messages between two ranks keep their order


class PeerLost(DpzoError, ConnectionError):
    """Another rank died or went silent; nothing of this step was or will be released."""


class Exchange(Protocol):
    """The ranks of one run, or of a part of it. Every rank calls the same methods in the same order."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    def sum_to_rank_0(self, values: np.ndarray) -> np.ndarray:
        """Return the exact sum over all ranks of int64 arrays of one shape, at rank 0; zeros elsewhere."""
        ...

    def broadcast(self, values: np.ndarray, *, timeout: timedelta | None = None) -> np.ndarray:
        """Return what rank 0 gave, int64, on every rank; the others give an array of the same shape."""
        ...

    def gather(self, values: np.ndarray, *, timeout: timedelta | None = None) -> list[np.ndarray]:
        """Return every rank's int64 array of one shape, by rank, at rank 0; nothing elsewhere."""
        ...

    def close(self) -> None:
        """Leave; whoever still waits for this rank is told that it is lost."""
        ...


class SingleProcess:
    """One process: what it says it says to itself."""

    rank = 0
    size = 1

    def sum_to_rank_0(self, values: np.ndarray) -> np.ndarray:
        """Return the values."""
        return values

    def broadcast(self, values: np.ndarray, *, timeout: timedelta | None = None) -> np.ndarray:
        """Return the values."""
        return values

    def gather(self, values: np.ndarray, *, timeout: timedelta | None = None) -> list[np.ndarray]:
        """Return the values."""
        return [values]

    def close(self) -> None:
        """Leave nobody."""


class GlooGroup:
    """The ranks of a gloo process group.

    Args:
        store: where the ranks meet (a torch.distributed store that all of them see).
        name: of this group among those that meet there.
        rank, size: place of this process in it, and the number of processes.
        address: host name or IP address under which this machine is known to the others.
        patience: how long a rank waits for the slowest one of a step.

    Raises:
        PeerLost: another rank is not there, or hangs; here and in every method.
    """

    def __init__(self, store: Any, name: str, rank: int, size: int, address: str, patience: Patience) -> None:
        from torch.distributed import PrefixStore, ProcessGroupGloo  # pyright: ignore[reportPrivateImportUsage]

        self.rank, self.size = rank, size
        self._store, self._address, self._patience = store, address, patience
        gloo: Any = ProcessGroupGloo
        options = gloo._Options()
        options._devices = [gloo.create_device(hostname=address)]
        options._timeout = MEETING
        with _peers_may_be_lost():
            self._group: Any = gloo(PrefixStore(name, store), rank, size, options)

    def part(self, name: str, ranks: Sequence[int]) -> GlooGroup:
        """Return the group of some ranks, which this one is among; all of them ask for it."""
        return GlooGroup(self._store, name, ranks.index(self.rank), len(ranks), self._address, self._patience)

    def sum_to_rank_0(self, values: np.ndarray) -> np.ndarray:
        """Return the exact sum over all ranks of int64 arrays of one shape, at rank 0; zeros elsewhere.

        Along a binomial tree, in log₂(size) messages; gloo's own reduction sends several times the bytes of so few
        numbers.
        """
        tensor, distance = _tensor(values), 1
        while distance < self.size:
            if self.rank & distance:
                self._wait("send", [tensor], self.rank - distance, _TAG)
                return np.zeros_like(values)
            if self.rank + distance < self.size:
                other = tensor.new_empty(tensor.shape)
                self._wait("recv", [other], self.rank + distance, _TAG)
                tensor += other
            distance *= 2
        return tensor.numpy()

    def broadcast(self, values: np.ndarray, *, timeout: timedelta | None = None) -> np.ndarray:
        """Return what rank 0 gave, int64, on every rank; the others give an array of the same shape."""
        from torch.distributed import BroadcastOptions

        tensor, options = _tensor(values), BroadcastOptions()
        options.rootRank, options.rootTensor = 0, 0
        others_wait = timeout if self.rank > 0 else None  # rank 0 sends: it only waits until the others are there
        options.timeout = others_wait or self._patience.length
        self._wait("broadcast", [tensor], options, patience=options.timeout)
        return tensor.numpy()

    def gather(self, values: np.ndarray, *, timeout: timedelta | None = None) -> list[np.ndarray]:
        """Return every rank's int64 array of one shape, by rank, at rank 0; nothing elsewhere."""
        from torch.distributed import GatherOptions

        tensor, options = _tensor(values), GatherOptions()
        options.rootRank = 0
        options.timeout = timeout or self._patience.length
        received = [tensor.new_empty(tensor.shape) for _ in range(self.size)] if self.rank == 0 else []
        outputs = [received] if received else []
        self._wait("gather", outputs, [tensor], options, patience=options.timeout)
        return [one.numpy() for one in received]

    def close(self) -> None:
        """Leave; whoever still waits for this rank is told that it is lost."""
        self._group = None  # the only reference, also in tracebacks: gloo hangs up when its group is destroyed

    def _wait(self, operation: str, *values: Any, patience: timedelta | None = None) -> None:
        with _peers_may_be_lost():
            getattr(self._group, operation)(*values).wait(patience or self._patience.length)


@contextmanager
def _peers_may_be_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        words = str(error).splitlines()[0]  # gloo's: they name a connection, and no value
        if "timed out" in words.lower():  # they also tell how long a step may take, which is nobody's business
            raise PeerLost("another worker of this run hangs: it sent no word for longer than steps take") from None
        raise PeerLost(f"another worker of this run is gone: {words}") from error


def _tensor(values: np.ndarray) -> Any:
    """Return a copy that gloo may write into."""
    import torch

    assert values.dtype == np.int64, "ranks exchange int64 only: sums of floats depend on their order"
    return torch.from_numpy(np.array(values, order="C", copy=True))
