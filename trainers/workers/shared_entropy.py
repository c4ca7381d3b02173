"""Randomness that several ranks draw alike, from a secret key that is fresh in every step.

Ranks that divide the directions of a step must see the same secret batch. Rank 0 draws 32 bytes from the operating
system and sends them; each rank expands them with SHAKE-256 and so draws the same mask and the same examples of a user.
To whoever does not hold the key the draws cannot be told from the operating system's own, which are such a stream too.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

KEY_BYTES = 32


class SharedEntropy(random.Random):
    """Stands where `secrets.SystemRandom` stands in a run of one process.

    Args:
        shard: number of the shard that the ranks share; shards draw independently from one key.

    Formal guarantees:
        Each call reads its own block of SHAKE-256(key ‖ shard ‖ number of the call), so that no two calls of a step,
        on any shards, share a bit. Without a key nothing can be drawn, and `forget` takes it away.
    """

    def __init__(self, shard: int) -> None:
        self._shard, self._key, self._calls = shard, b"", 0
        super().__init__()

    def renew(self, key: bytes) -> None:
        """Begin a step with a key that was never used before."""
        assert len(key) == KEY_BYTES
        self._key, self._calls = key, 0

    def forget(self) -> None:
        """Drop the key: a batch is drawn once."""
        self._key = b""

    def randbytes(self, n: int) -> bytes:
        """Return the next n bytes."""
        if not self._key:
            raise RuntimeError("a batch was drawn outside a step: the shared entropy has no key.")
        place = self._shard.to_bytes(8, "big") + self._calls.to_bytes(8, "big")
        self._calls += 1
        return hashlib.shake_256(self._key + place).digest(n)

    def getrandbits(self, k: int) -> int:
        """Return k random bits as a whole number."""
        num_bytes = -(-k // 8)
        return int.from_bytes(self.randbytes(num_bytes), "big") >> (8 * num_bytes - k)

    def random(self) -> float:
        """Return a number in [0, 1) with 53 random bits."""
        return self.getrandbits(53) * 2.0**-53

    def seed(self, *_: Any) -> None:
        """Take no seed: `renew` gives the key."""
