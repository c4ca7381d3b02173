"""Keyed MACs of normalised rows: they say whether two sources share rows, and nothing to anybody without the key.

A row is what its text columns say: not their names, order or format, nor the columns that the task does not use. So a
row is known again in a file with a column more, in capitals, or with other blanks. The label plays no part.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers.data.fingerprint import Fingerprint
from trainers.data.sources import stream_rows

_MAC_BYTES = 8


class SourceDigests(NamedTuple):
    """What one reading of a source leaves: the keyed fingerprint of all of it, and a keyed MAC of each row.

    `row_macs` is (N,) uint64; two different rows have the same MAC with probability 2**-64.
    """

    fingerprint: str
    row_macs: NDArray[np.uint64]


def read_digests(source: str, text_columns: Sequence[str], key: bytes, field: str = "data.train") -> SourceDigests:
    """Return the digests of a source, read once.

    Args:
        source, field: as `read_rows` takes them.
        text_columns: by which a row is known again.
        key: at least 16 secret bytes.

    Raises:
        ValueError: the key is too short, or as for `read_rows`; no content of a row is shown.
    """
    fingerprint, macs = Fingerprint(key), bytearray()
    row_key = hashlib.blake2b(b"dpzo overlap, one row", key=key[:64]).digest()
    for row in stream_rows(source, text_columns, field, fingerprint.add):
        macs += hashlib.blake2b(_normalised(row).encode(), key=row_key, digest_size=_MAC_BYTES).digest()
    return SourceDigests(fingerprint.hexdigest(), np.frombuffer(macs, "<u8").astype(np.uint64))


def _normalised(row: dict[str, Any]) -> str:
    texts = [" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in _texts(list(row.values()))]
    return "\0".join(sorted(texts))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(int(value) if isinstance(value, float) and value.is_integer() else value)
