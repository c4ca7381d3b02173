"""Training and validation records apart by a keyed coin: a rule that is fixed without looking at the data.

Each record (each user, where users are the unit of privacy) falls on its side by itself, so adding or removing one
touches one side only, and what both sides release together costs the larger of the two and not their sum. Equal records
fall on the same side: a validation record was not trained on.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable
from typing import Any

from trainers.data.fingerprint import canonical, require_key


def validates(identities: Iterable[bytes], key: bytes, share: float) -> list[bool]:
    """Return of each identity whether its coin puts it on the validation side.

    Args:
        identities: what a coin depends on, from `identity_of_record` or `identity_of_user`.
        key: at least 16 secret bytes, the same for everything that is ever split from this data set.
        share: probability of the validation side, in (0, 1).

    Raises:
        ValueError: a key that is too short.

    Formal guarantees:
        The side is a function of identity, key and share alone: of no other record, no order, no number of records.
    """
    require_key(key)
    threshold = math.floor(share * 2**64)
    return [int.from_bytes(hmac.digest(key, identity, "sha256")[:8]) < threshold for identity in identities]


def identity_of_record(record: dict[str, Any]) -> bytes:
    """Return what a record's coin depends on: all its columns."""
    return b"dpzo split, record:" + canonical(record)


def identity_of_user(user: str) -> bytes:
    """Return what a user's coin depends on: its id alone, so that all its records fall on one side."""
    return b"dpzo split, user:" + user.encode()
