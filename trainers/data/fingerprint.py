"""The keyed fingerprint of a data set: it says whether two sources hold the same records, and nothing else.

A ledger stores it, and so refuses another data set under the same name. Nobody without the key can test a guess of the
data against it. The order of rows does not matter: their MACs are added modulo 2**256 (an incremental hash of a
multiset; Bellare & Micciancio, 1997), in one pass. The file format does not matter either, except for types that a
format lacks: the number 3 of a JSONL file is the text "3" in a CSV file, which is another record.
"""

import hmac
import json
import math
from collections.abc import Mapping
from typing import Any

from trainers.data.sources import stream_records

_MODULUS = 2**256
_DIGEST = "sha256"


def fingerprint(source: str, key: bytes, field: str = "data.train") -> str:
    """Return the keyed fingerprint of all columns of all rows of a source, as 64 hexadecimal digits.

    Args:
        key: at least 16 secret bytes; another key gives an unrelated fingerprint.
        source, field: as `read_rows` takes them.

    Raises:
        ValueError: the key is too short, or the source is missing or malformed; the error shows no content of a row.

    Formal guarantees:
        It is a pseudorandom function of the multiset of canonical records (`canonical`). Equal multisets have equal
        fingerprints. Other multisets that are chosen without the key collide with probability 2**-256.
    """
    whole = Fingerprint(key)
    for record in stream_records(source, field):
        whole.add(record)
    return whole.hexdigest()


class Fingerprint:
    """The fingerprint of the records that were added so far, in any order; `key` as for `fingerprint`."""

    def __init__(self, key: bytes) -> None:
        require_key(key)
        self._key, self._row_key = key, hmac.digest(key, b"dpzo fingerprint, one row", _DIGEST)
        self._total = self._count = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record with all its columns."""
        self._total += int.from_bytes(hmac.digest(self._row_key, canonical(record), _DIGEST))
        self._count += 1

    def hexdigest(self) -> str:
        """Return the fingerprint."""
        whole = b"dpzo fingerprint, all rows:" + (self._total % _MODULUS).to_bytes(32) + self._count.to_bytes(16)
        return hmac.digest(self._key, whole, _DIGEST).hex()


def require_same_rows(read: Mapping[str, str], charged: Mapping[str, str]) -> None:
    """Refuse rows that are not those that were charged.

    Args:
        read, charged: fingerprints by field; a field that one of them lacks is not compared.
    """
    for field in read.keys() & charged.keys():
        if read[field] != charged[field]:
            raise ValueError(
                f"{field}: the file has other rows than those that this run is charged for; it was changed in between. "
                "Restore it; or begin a run of another name on the new rows."
            )


def require_key(key: bytes) -> None:
    """Raise ValueError if a key is shorter than 16 bytes, and so could be guessed."""
    if not isinstance(key, bytes) or len(key) < 16:
        raise ValueError("a key of at least 16 secret bytes is expected; make one with secrets.token_bytes(32).")


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON with sorted columns, without null columns and with 1 for 1.0.

    Bytes, dates and decimals, which Parquet can hold, become type and representation.
    """
    plain = {name: value if type(value) is str else _plain(value) for name, value in record.items()}
    present = {name: value for name, value in plain.items() if value is not None}
    return json.dumps(present, sort_keys=True, separators=(",", ":"), default=_other).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {name: _plain(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    return value


def _other(value: Any) -> dict[str, str]:
    return {type(value).__name__: repr(value)}
