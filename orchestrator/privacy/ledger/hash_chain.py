"""The ledger's tamper evidence: the hash of each row covers the row before it, and the last hash is stored beside.

A budget's entries are chained by plain SHA-256, so that anyone can check an exported history. Draws are chained by a
hash that is keyed with the ledger's secret: with a plain hash, anyone could try out the few possible histories and find
a secret number of trials.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.privacy.errors import LedgerCorruptError


def verify_draws(cap: Any, rows: Sequence[Any], key: bytes) -> None:
    """Check a cap's row against all its draws, in the order of their sequence.

    Raises:
        LedgerCorruptError: naming the first row or count that does not fit.
    """
    where = f"{cap.kind!r} of {cap.name!r}"
    head, num_drawn = cap_genesis(cap.name, cap.kind, cap.parameters, cap.cap, cap.per_holder, key), 0
    for sequence, row in enumerate(rows):
        head = link(head, draw_content(row), key)
        if (row.sequence, row.first, row.hash) != (sequence, num_drawn, head):
            raise LedgerCorruptError(
                f"Draw {row.sequence} of {where} is not the draw that was written as no. {sequence}."
            )
        num_drawn += row.num_tokens * row.price
    counted, available = (cap.num_draws, cap.num_drawn), cap.cap - cap.num_moved
    if head != cap.head_hash or (len(rows), num_drawn) != counted or num_drawn > available:
        raise LedgerCorruptError(
            f"{where}: found {len(rows)} draws, expected {cap.num_draws}; they take {num_drawn} of {available} units, "
            f"expected {cap.num_drawn}; and the last hash {'fits' if head == cap.head_hash else 'does not fit'}. Rows "
            "or the cap were changed."
        )


def cap_genesis(name: str, kind: str, parameters: str, cap: int, per_holder: int | None, key: bytes) -> str:
    """Return the hash that a cap's draws start from; it covers the cap, so that the cap cannot be raised later."""
    content = {"name": name, "kind": kind, "parameters": parameters, "cap": cap, "per_holder": per_holder}
    return link("", content, key)


def draw_content(row: Any) -> dict[str, Any]:
    """Return what the hash of a draw covers."""
    names = ("sequence", "first", "num_tokens", "price", "holder", "step", "nonce", "drawn_at")
    return {name: getattr(row, name) for name in names}


def entry_content(row: Any) -> dict[str, Any]:
    """Return what the hash of a budget's entry covers."""
    return {name: getattr(row, name) for name in ("sequence", "entry", "name", "content", "made_at")}


def link(previous_hash: str, content: Mapping[str, Any], key: bytes | None = None) -> str:
    """Return the next hash: SHA-256, in hexadecimal, of the previous one and the canonical content; HMAC with a key."""
    text = (previous_hash + canonical(content)).encode()
    return hashlib.sha256(text).hexdigest() if key is None else hmac.new(key, text, hashlib.sha256).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """Return the one JSON text of a content: sorted keys, no spaces; a ValueError for NaN and infinities."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
