"""The ledger's tamper evidence: every row hashes the one before it, and the head is kept beside.

A budget's entries are chained by plain SHA-256, so that anyone can check an exported history. Draws are chained by a
hash keyed with the ledger's secret: where the number of trials is a secret, their heads would tell it to whoever tries
out the few histories that can be.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.privacy.errors import LedgerCorruptError


def verify_draws(cap: Any, rows: Sequence[Any], key: bytes) -> None:
    """Check a cap's row and all its draws, in order of their sequence.

    Raises:
        LedgerCorruptError: naming the first row that does not fit, or the count that does not.
    """
    where = f"{cap.kind!r} of {cap.name!r}"
    head, num_drawn = cap_genesis(cap.name, cap.kind, cap.parameters, cap.cap, cap.per_holder, key), 0
    for sequence, row in enumerate(rows):
        head = link(head, draw_content(row), key)
        if (row.sequence, row.first, row.hash) != (sequence, num_drawn, head):
            raise LedgerCorruptError(
                f"Draw {row.sequence} of {where} is not what was written in its place ({sequence})."
            )
        num_drawn += row.num_tokens * row.price
    counted = (cap.num_draws, cap.num_drawn)
    if head != cap.head_hash or (len(rows), num_drawn) != counted or num_drawn > cap.cap - cap.num_moved:
        raise LedgerCorruptError(
            f"{where}: {len(rows)} draws are there, {cap.num_draws} were counted; they took {num_drawn} of "
            f"{cap.cap - cap.num_moved}, {cap.num_drawn} were counted; and the last hash "
            f"{'fits' if head == cap.head_hash else 'does not fit'}. Rows or the cap were changed."
        )


def cap_genesis(name: str, kind: str, parameters: str, cap: int, per_holder: int | None, key: bytes) -> str:
    """Return the hash that a cap's draws start from: the cap itself, so that it cannot be raised later."""
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
    """Return JSON with one spelling for each content; ValueError for NaN and infinities."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
