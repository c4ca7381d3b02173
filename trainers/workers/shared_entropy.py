"""Randomness that several ranks draw alike, from a secret key that is new in every step.

Ranks that divide the directions of a step must see the same secret batch. Rank 0 draws 32 bytes from the operating
system and sends them. Each rank expands them with SHAKE-256, and so draws the same mask and the same examples of a
user. Without the key nobody can tell the draws from those of the operating system, whose generator is keyed too.
"""

import hashlib
import random
from typing import Any

KEY_BYTES = 32


class SharedEntropy(random.Random):
    """A generator in the place of `secrets.SystemRandom`, which a run in one process uses.

    The draws of different shards are independent; ranks that share one draw alike.

    Formal guarantees:
        Each call reads its own block of SHAKE-256(key ‖ shard ‖ number of the call). No two calls of a step, on any
        shards, share a bit. Nothing can be drawn without a key: before `renew` and after `forget`.
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
        if not self._key:
            raise RuntimeError("a batch was drawn outside a step: the shared entropy has no key.")
        block = self._shard.to_bytes(8, "big") + self._calls.to_bytes(8, "big")
        self._calls += 1
        return hashlib.shake_256(self._key + block).digest(n)

    def getrandbits(self, k: int) -> int:
        num_bytes = -(-k // 8)
        return int.from_bytes(self.randbytes(num_bytes), "big") >> (8 * num_bytes - k)

    def random(self) -> float:
        return self.getrandbits(53) * 2.0**-53

    def seed(self, *_: Any) -> None:
        """Ignore a seed: `renew` sets the key."""
