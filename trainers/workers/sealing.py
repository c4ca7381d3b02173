"""Authenticated encryption of the messages between the ranks of a group (ChaCha20-Poly1305, RFC 8439).

The nonce of a message is its sender's rank and the number of the call, which all ranks count alike. A rank seals one
message a call, so that no nonce is used twice; a message of another rank, call or group does not open. A listener sees
when messages go and how long they are, and nothing of what they say.
"""

import hashlib

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEY_BYTES = 32
TAG_BYTES = 16


class Seal:
    """Seals this rank's messages and opens those of the others.

    Args:
        key: 32 random bytes that only the ranks of this run know, fresh whenever they meet. Each group derives its own.
        group: the group's name, unique among the groups of a meeting.
    """

    def __init__(self, key: bytes, group: str, rank: int) -> None:
        assert len(key) == KEY_BYTES
        self._cipher = ChaCha20Poly1305(hashlib.blake2b(group.encode(), key=key, digest_size=KEY_BYTES).digest())
        self._rank, self._call, self._sealed = rank, 0, 0

    def begin_call(self) -> None:
        """Begin the next call; every rank of the group does, in the same order."""
        self._call += 1

    def seal(self, values: np.ndarray) -> np.ndarray:
        """Return the message that holds an int64 array, uint8 [8 · size + 16]; RuntimeError the second time."""
        if self._sealed >= self._call:
            raise RuntimeError("a rank seals one message a call: a second one would have the same nonce.")
        self._sealed = self._call
        message = self._cipher.encrypt(self._nonce(self._rank), values.tobytes(), None)
        return np.frombuffer(bytearray(message), dtype=np.uint8)

    def open(self, message: np.ndarray, sender: int) -> np.ndarray:
        """Return what `sender` sealed in this call, a flat int64 array; cryptography's InvalidTag for anything else."""
        content = self._cipher.decrypt(self._nonce(sender), message.tobytes(), None)
        return np.frombuffer(bytearray(content), dtype=np.int64)

    def _nonce(self, sender: int) -> bytes:
        return sender.to_bytes(4, "big") + self._call.to_bytes(8, "big")
