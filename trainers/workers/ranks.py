"""The ranks of a run: which units and which probes are this one's, and what it hears from the others.

Data parallel: every rank draws and measures its own shard of the units, with randomness of its own. Direction parallel:
the ranks of a group see one batch and measure some of its probes each. Both together: D shards × P ranks a shard.

| a step                    | who                    | bytes that a rank sends or receives                        |
|---------------------------|------------------------|------------------------------------------------------------|
| token, reservation, "go"  | rank 0 to all          | 8, or 40 with the key of the batch where P > 1             |
| losses of the batch       | of a group, to its first | 8 · B · (its share of the probes), where P > 1           |
| sum of clipped vectors    | all to rank 0          | 8 · K                                                      |
| noise, release, broadcast | rank 0 to all          | 8 · K                                                      |

Overflow: a unit adds at most 2**30 to a coordinate, so fewer than 2**33 units sampled, over all ranks together, cannot
leave int64; more units than that fit in no machine's memory.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np

from trainers.evaluators.base import Probe
from trainers.mechanism.tokens import TokensExhausted
from trainers.workers.exchange import LONG_TIMEOUT, Exchange, GlooGroup, SingleProcess
from trainers.workers.patience import Patience
from trainers.workers.shared_entropy import KEY_BYTES, SharedEntropy

_GO, _REFUSED = 1, 0
_DIGEST_BYTES = 32

Item = TypeVar("Item")


class Ranks:
    """One process among the ranks of a run; alone unless told otherwise.

    Args:
        exchange: all ranks. Rank 0 holds the release log and the tokens, and adds the noise.
        group: those that share this one's shard and divide its probes; consecutive ranks of `exchange`.
        patience: with which both wait for a rank in a step.
    """

    def __init__(
        self, exchange: Exchange | None = None, group: Exchange | None = None, patience: Patience | None = None
    ) -> None:
        self._exchange: Exchange = exchange or SingleProcess()
        self._group: Exchange = group or SingleProcess()
        self._patience = patience or Patience()
        self.rank, self.size = self._exchange.rank, self._exchange.size
        self._shard, self._num_shards = self.rank // self._group.size, self.size // self._group.size
        self._shared = SharedEntropy(self._shard) if self._group.size > 1 else None
        self.entropy = self._shared or secrets.SystemRandom()

    @classmethod
    def meet(
        cls, store: Any, rank: int, size: int, *, group_size: int, address: str, patience: Patience | None = None
    ) -> Ranks:
        """Return the ranks that meet at a store (of torch.distributed) and divide probes in groups of `group_size`.

        Raises:
            PeerLost: one of them does not come.
        """
        patience = patience or Patience()
        everyone = GlooGroup(store, "all", rank, size, address, patience)
        first = rank - rank % group_size
        group = everyone.part(f"group-{first}", range(first, first + group_size)) if group_size > 1 else None
        return cls(everyone, group, patience)

    @property
    def is_rank_0(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def begin_run(self) -> None:
        """Begin a run: what the last one's steps took says nothing of its first."""
        self._patience.begin_run()

    def shard_of(self, units: Sequence[Item]) -> Sequence[Item]:
        """Return the units of this rank's shard. Every unit is in exactly one."""
        return units[self._shard :: self._num_shards]

    def reserve_step(self, reserve: Callable[[], None]) -> None:
        """Reserve a step, on rank 0; return when the reservation is durable, on every rank.

        Raises:
            TokensExhausted: on every rank, where it was refused.
        """
        word = np.full(1 if self._shared is None else 1 + KEY_BYTES // 8, _REFUSED)
        if self.is_rank_0:
            try:
                reserve()
            except TokensExhausted:
                self._exchange.broadcast(word)
                raise
            word[0] = _GO
            word[1:] = np.frombuffer(secrets.token_bytes(8 * len(word[1:])), dtype=np.int64)
        word = self._exchange.broadcast(word, timeout=LONG_TIMEOUT)
        if word[0] == _REFUSED:
            raise TokensExhausted("rank 0 was refused a token")
        if self._shared is not None:
            self._shared.renew(word[1:].tobytes())
        self._patience.begin()

    def gather_losses(
        self, probes: Sequence[Probe], batch_size: int, measure: Callable[[Sequence[Probe]], np.ndarray]
    ) -> np.ndarray | None:
        """Return the losses [P, B] of all probes at the first rank of a group, None elsewhere. Private.

        Formal guarantees:
            Losses travel as their 64 bits: the matrix is the one that a single process would have measured.
        """
        if self._group.size == 1:
            return measure(probes)
        share = -(-len(probes) // self._group.size)
        mine = probes[self._group.rank * share :][:share]
        part_PB = np.zeros((share, batch_size))
        if mine:
            part_PB[: len(mine)] = measure(mine)
        parts = self._group.gather(part_PB.view(np.int64)) if batch_size else [part_PB.view(np.int64)]
        if self._group.rank > 0:
            return None
        return np.concatenate(parts).view(np.float64)[: len(probes)] if batch_size else np.zeros((len(probes), 0))

    def sum_to_rank_0(self, sum_K: np.ndarray) -> np.ndarray:
        """Return the exact sum over all ranks, int64 [K], at rank 0; zeros elsewhere. Private."""
        if self._shared is not None:
            self._shared.forget()
        return self._exchange.sum_to_rank_0(sum_K)

    def broadcast_release(self, count: int, release: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what rank 0 released, int64 [count], on every rank; `release` is called there alone."""
        noisy_K = self._exchange.broadcast(release() if self.is_rank_0 else np.zeros(count, dtype=np.int64))
        self._patience.end()
        return noisy_K

    def broadcast(self, make: Callable[[], Any]) -> Any:
        """Return a JSON value that rank 0 makes, on every rank."""
        if self.size == 1:
            return make()
        text = json.dumps(make()).encode() if self.is_rank_0 else b""
        (length,) = self._exchange.broadcast(np.array([len(text)]), timeout=LONG_TIMEOUT)
        return json.loads(_bytes(self._exchange.broadcast(_words(text.ljust(length))), length))

    def require_same(self, what: str, content: Callable[[], bytes]) -> None:
        """Check that all ranks hold the same content; only digests travel.

        Raises:
            ValueError: on every rank, where they do not.
        """
        if self.size > 1 and len(set(self._digests(content()))) > 1:
            raise ValueError(
                f"the workers of this run do not have the same {what}: each must see the same files, and the same model"
            )

    def divergent_ranks(self, content: Callable[[], bytes], *, timeout: timedelta | None = None) -> list[int]:
        """Return the ranks whose content is not that of more than half of them; all, where nothing is."""
        if self.size == 1:
            return []
        digests = self._digests(content(), timeout)
        common, count = Counter(digests).most_common(1)[0]
        return [rank for rank in range(self.size) if digests[rank] != common or 2 * count <= self.size]

    def close(self) -> None:
        """Leave the others."""
        self._group.close()
        self._exchange.close()

    def _digests(self, content: bytes, timeout: timedelta | None = None) -> list[str]:
        digest = hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
        found = self._exchange.gather(np.frombuffer(digest, dtype=np.int64), timeout=timeout)
        return self.broadcast(lambda: [one.tobytes().hex() for one in found])


def _words(text: bytes) -> np.ndarray:
    """Return text as int64, filled up with blanks."""
    return np.frombuffer(text.ljust(-(-len(text) // 8) * 8), dtype=np.int64)


def _bytes(words: np.ndarray, length: int) -> bytes:
    return words.tobytes()[:length]
