"""The ranks of a run: which units and which probes are this rank's, and what it exchanges with the others.

Data parallel: every rank draws and measures its own shard of the units, with its own randomness. Direction parallel:
the ranks of a group see the same batch, and each measures some of its probes. Together: D shards × P ranks.

| in a step                      | from, to                         | bytes that a rank sends or receives           |
|--------------------------------|----------------------------------|-----------------------------------------------|
| token, reservation, then "go"  | rank 0 to all                    | 8, or 40 with the key of the batch if P > 1   |
| losses of the batch, padded    | all of a group to its first rank | 8 · B' · (the rank's probes), only if P > 1   |
| sum of the clipped vectors     | all to rank 0                    | 8 · K                                         |
| noise, then the release        | rank 0 to all                    | 8 · K                                         |

Each message is sealed, which adds 16 bytes. Its length is public: B' is B up to the next multiple of a public number
that a batch seldom exceeds.

int64 cannot overflow: a unit adds at most 2**30 to a coordinate, and no machine holds the 2**33 units of such a sum.
"""

from __future__ import annotations

import hashlib
import json
import math
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
    """One process among the ranks of a run; by default the only one.

    Args:
        exchange: all ranks. Rank 0 holds the release log and the tokens, and adds the noise.
        group: the ranks that share this rank's shard and divide its probes; consecutive ranks of `exchange`.
        patience: how long `exchange` and `group` wait for a rank in a step.
    """

    def __init__(
        self, exchange: Exchange | None = None, group: Exchange | None = None, patience: Patience | None = None
    ) -> None:
        self._exchange: Exchange = exchange or SingleProcess()
        self._group: Exchange = group or SingleProcess()
        self._patience = patience or Patience()
        self._padded_batch = 1
        self.rank, self.size = self._exchange.rank, self._exchange.size
        self._shard, self._num_shards = self.rank // self._group.size, self.size // self._group.size
        self._shared = SharedEntropy(self._shard) if self._group.size > 1 else None
        self.entropy = self._shared or secrets.SystemRandom()

    @classmethod
    def meet(
        cls,
        store: Any,
        key: bytes,
        rank: int,
        size: int,
        *,
        group_size: int,
        address: str,
        patience: Patience | None = None,
    ) -> Ranks:
        """Return the ranks that meet at a torch.distributed store, in groups that divide probes; else PeerLost.

        key: 32 secret random bytes, fresh for each meeting; they seal all that the ranks exchange.
        """
        patience = patience or Patience()
        everyone = GlooGroup(store, key, "all", rank, size, address, patience)
        first = rank - rank % group_size
        group = everyone.subgroup(f"group-{first}", range(first, first + group_size)) if group_size > 1 else None
        return cls(everyone, group, patience)

    @property
    def is_rank_0(self) -> bool:
        return self.rank == 0

    def begin_run(self, expected_batch_size: float, max_examples: int | None = None) -> None:
        """Forget how long the steps of the last run took, and choose the length of the messages of this one.

        A shard's batch exceeds the chosen number with a chance below 1e-15 a step (Bernstein's inequality).

        Args:
            expected_batch_size: of all shards together, in units.
            max_examples: the most examples that a batch has of a unit; None where examples are the unit.
        """
        self._patience.begin_run()
        mean = expected_batch_size / self._num_shards
        self._padded_batch = math.ceil(mean + 10 * math.sqrt(mean) + 24) * (max_examples or 1)

    def shard_of(self, units: Sequence[Item]) -> Sequence[Item]:
        """Return the units of this rank's shard. Every unit is in exactly one shard."""
        return units[self._shard :: self._num_shards]

    def reserve_step(self, reserve: Callable[[], None]) -> None:
        """Call `reserve` on rank 0; every rank returns when it is durable, or raises its TokensExhausted."""
        message = np.full(1 if self._shared is None else 1 + KEY_BYTES // 8, _REFUSED)
        if self.is_rank_0:
            try:
                reserve()
            except TokensExhausted:
                self._exchange.broadcast(message)
                raise
            message[0] = _GO
            message[1:] = np.frombuffer(secrets.token_bytes(8 * len(message[1:])), dtype=np.int64)
        message = self._exchange.broadcast(message, timeout=LONG_TIMEOUT)
        if message[0] == _REFUSED:
            raise TokensExhausted("rank 0 was refused a token")
        if self._shared is not None:
            self._shared.renew(message[1:].tobytes())
        self._patience.begin()

    def gather_losses(
        self, probes: Sequence[Probe], batch_size: int, measure: Callable[[Sequence[Probe]], np.ndarray]
    ) -> np.ndarray | None:
        """Return the losses, float64 [P, B], of all probes at the first rank of a group, None elsewhere. Private.

        measure: returns the losses [p, B] of some of the probes.

        Formal guarantees:
            The matrix has the bits of the one that a single process would have measured.
        """
        if self._group.size == 1:
            return measure(probes)
        share = -(-len(probes) // self._group.size)
        mine = probes[self._group.rank * share :][:share]
        padded = max(1, -(-batch_size // self._padded_batch)) * self._padded_batch
        part_PB = np.zeros((share, padded))
        if mine and batch_size:
            part_PB[: len(mine), :batch_size] = measure(mine)
        parts = self._group.gather(part_PB.view(np.int64))
        if self._group.rank > 0:
            return None
        return np.concatenate(parts).view(np.float64)[: len(probes), :batch_size]

    def sum_to_rank_0(self, sum_K: np.ndarray) -> np.ndarray:
        """Return the exact sum over all ranks, int64 [K], at rank 0; zeros elsewhere. Private."""
        if self._shared is not None:
            self._shared.forget()
        return self._exchange.sum_to_rank_0(sum_K)

    def broadcast_release(self, count: int, release: Callable[[], np.ndarray]) -> np.ndarray:
        """Return rank 0's release, int64 [count], on every rank; only rank 0 calls `release`."""
        noisy_K = self._exchange.broadcast(release() if self.is_rank_0 else np.zeros(count, dtype=np.int64))
        self._patience.end()
        return noisy_K

    def broadcast(self, make: Callable[[], Any]) -> Any:
        """Return the JSON value that `make` returns on rank 0, on every rank."""
        if self.size == 1:
            return make()
        text = json.dumps(make()).encode() if self.is_rank_0 else b""
        (length,) = self._exchange.broadcast(np.array([len(text)]), timeout=LONG_TIMEOUT)
        padded = text.ljust(-(-length // 8) * 8)
        return json.loads(self._exchange.broadcast(np.frombuffer(padded, dtype=np.int64)).tobytes()[:length])

    def require_same(self, what: str, content: Callable[[], bytes]) -> None:
        """Check, by digests alone, that all ranks hold the same content; ValueError on every rank if not."""
        if self.size > 1 and len(set(self._digests(content()))) > 1:
            raise ValueError(
                f"the workers of this run do not have the same {what}: each must see the same files, and the same model"
            )

    def divergent_ranks(self, content: Callable[[], bytes], *, timeout: timedelta | None = None) -> list[int]:
        """Return the ranks whose content is not that of the majority; all ranks if there is no majority."""
        if self.size == 1:
            return []
        digests = self._digests(content(), timeout)
        common, count = Counter(digests).most_common(1)[0]
        return [rank for rank in range(self.size) if digests[rank] != common or 2 * count <= self.size]

    def close(self) -> None:
        self._group.close()
        self._exchange.close()

    def _digests(self, content: bytes, timeout: timedelta | None = None) -> list[str]:
        digest = hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
        digests = self._exchange.gather(np.frombuffer(digest, dtype=np.int64), timeout=timeout)
        return self.broadcast(lambda: [one.tobytes().hex() for one in digests])
