"""The split into training and validation records by a keyed coin, a rule that does not look at the data.

The side of a record (of a user, if users are the unit of privacy) depends on that record alone. Adding or removing one
therefore changes one side only, and the releases of both sides together cost the larger ε and not the sum. Equal
records fall on the same side: no validation record is trained on.
"""

import hmac
import math
from collections.abc import Iterable
from typing import Any

from trainers.data.fingerprint import canonical, require_key


def validates(identities: Iterable[bytes], key: bytes, share: float) -> list[bool]:
    """Return, for each identity, whether it falls on the validation side.

    Args:
        identities: from `identity_of_record` or `identity_of_user`.
        key: at least 16 secret bytes (else ValueError), always the same for a data set.
        share: probability of the validation side, in (0, 1).

    Formal guarantees:
        The side is a function of identity, key and share. It does not depend on other records, their order or number.
    """
    require_key(key)
    threshold = math.floor(share * 2**64)
    return [int.from_bytes(hmac.digest(key, identity, "sha256")[:8]) < threshold for identity in identities]


def identity_of_record(record: dict[str, Any]) -> bytes:
    """Return the identity of a record: all its columns."""
    return b"dpzo split, record:" + canonical(record)


def identity_of_user(user: str) -> bytes:
    """Return the identity of a user, which puts all its records on one side."""
    return b"dpzo split, user:" + user.encode()
